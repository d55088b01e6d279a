// Package image turns an image reference of a site into the folders of an
// overlayfs root: it owns <state folder>/images.
//
// # The store
//
// [Store.Resolve] looks up what a reference means now, unpacks what is not unpacked
// yet, and returns the layers as folders for overlayfs's lowerdir. All of it works
// offline, from an OCI layout folder, a `docker save` archive or a plain root folder.
//
//	<dir>/lock              byte ranges of it are locked, see lock.go
//	<dir>/l/<chain id>/     one unpacked layer: only what this layer changes
//	<dir>/images/<digest>   what an unpacked image consists of, JSON
//	<dir>/archives/<key>    which image an archive file holds, JSON
//	<dir>/tmp/              unpacking in progress; emptied by Open and Prune
//
// # Why a folder per chain id
//
// A layer is stored once for all images that have the same layers below it: its
// name is the chain id (image-spec, config.md: the digest over the diff ids from
// the bottom up to here), cut to 128 bits. The diff id alone will not do, because
// what a layer unpacks to depends on what is below it in two ways: a folder that the
// tar does not list gets owner, mode and xattrs of the folder it covers, and a
// hard link may name a file of a lower layer, which overlayfs can only express by
// a copy (a "copy-up", what the kernel does itself for such a link). In practice
// images share layers from the bottom up, so nothing is lost. The name is short because
// mount(2) takes at most a page of options.
//
// # Crashes and corruption
//
// Layers are unpacked under tmp/, verified against both digests (of the blob as
// stored and of the tar), written through by syncfs and renamed into place, then the
// image's record is written. What has its name is complete; what has not is removed
// by the next Open.
//
// # Untrusted layers
//
// A process without rights decompresses layers and reads them (package decode), and
// what all layers of an image take together is bounded ([Limits]).
//
// Writing goes through containerd's archive package, which resolves each path
// inside of the layer's folder. Since every layer is unpacked into a folder of its
// own that starts empty, a symbolic link planted by a lower layer does not even
// exist while an upper one is unpacked; overlayfs meets it only inside of the container's
// root. Entries whose name or hard link climbs above the root are refused
// ([ErrEscape]), device nodes are left out, trusted.* xattrs (overlayfs's own
// language) are ignored, and whiteouts are placed last with openat2(2)
// and RESOLVE_NO_SYMLINKS. The store's folder is 0700: set-user-ID files of images
// are out of reach of the host's users.
package image
