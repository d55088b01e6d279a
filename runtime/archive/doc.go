// Package archive writes folders as tar archives and unpacks such archives into
// folders.
//
// Neither side is trusted. A folder may belong to a tenant who exchanges what is in
// it while it is read or written: everything is opened by descriptors below one that
// is held, symbolic links are followed on the way to what the caller names and
// nowhere else, and nothing but folders and regular files is ever opened. An archive
// may have been made to lead out of the folder that it is unpacked into: no entry is
// written through a symbolic link, and none of a device is made.
package archive
