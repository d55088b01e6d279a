// Package config owns the configuration of the daemon: fcnode.yaml, its defaults and its checks. It reads one file and asks the machine
// nothing: whether a link exists or a prefix overlaps a route is found out when the node is set up. Changes take effect when the daemon
// is started again.
package config
