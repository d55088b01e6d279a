// Package resolv makes the files by which a site resolves names, /etc/resolv.conf
// and /etc/hosts, from what the spec, the node's configuration and the node's own
// resolv.conf say, in this order.
package resolv
