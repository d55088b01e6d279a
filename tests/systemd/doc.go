// Package systemd tests fcnode as it is installed: the packaged unit under systemd as process 1, on a machine of
// its own. The VM rig runs it last, after handing the machine over to systemd.
package systemd
