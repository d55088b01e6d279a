// Package decode reads layers of images, which strangers have made, in a process
// that can do nothing else.
//
// # Where the line is
//
// The daemon executes itself once for each layer. That process gets the blob on its
// standard input, decompresses it, reads it as a tar, and writes the same tar to its
// standard output, each header only when it has been read without an error. It runs
// as nobody, without a capability, in namespaces of its own for network, processes
// and IPC, with a bound on its memory, and its seccomp filter leaves it reading,
// writing, memory and threads: it can open nothing. Whatever a stream does to a
// decompressor or to the reader of tars (which panics, or takes all memory), it does
// it there.
//
// The daemon hashes what comes out and writes it to disk. It does not leave that to the
// process: the digest of the tar is what the store knows a layer by, and all
// images share it, so whoever could choose the bytes after they were hashed could
// put his files into the images of others. Nor does the process write files itself:
// owners, capabilities of files and overlayfs's marks take the rights of root, with
// which a process that reads hostile bytes is not confined. Of these bytes the daemon
// reads the headers a second time, by the same reader of tars, which is Go without
// unsafe code.
//
// There is no mount namespace: it would hold all mounts of all sites, so that they
// could not be taken away meanwhile, and the filter lets nothing be opened.
//
// A daemon that is not root (tests) starts the process without another user and
// without namespaces.
//
// # Its end
//
// The process dies with the thread that has started it, so with the daemon; that
// thread waits for it. An end by a signal, or a panic, is an error of that
// layer.
package decode
