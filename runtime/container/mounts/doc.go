// Package mounts makes the mounts of containers, for whoever starts or restores
// one: the system's (/proc, /dev and what is hidden in them), ahead of any
// request, and the root file system. All are made in the mount namespace of the
// calling thread, and look up no path inside of a root file system, which may be
// hostile.
package mounts
