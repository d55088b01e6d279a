// Package volume opens the folders and files of the node that sites are given,
// and keeps the named volumes.
//
// What a spec names is the source of a volume, or the folder of a dir: image.
// Whoever owns a folder on the way, a tenant with SFTP say, may exchange it at any
// moment for a symbolic link. So no link is followed, what was opened is what is
// used, by its descriptor, and everything lies below folders that the node's
// configuration names. The one exception is a source of which the operator says
// so: a link that leads further down (Source.Follow).
//
// Named volumes are the node's own: Store makes them, fills them once from the
// site's image, lists and removes them.
package volume
