#!/bin/bash
# A libvirt daemon of its own for Vagrant, on a machine whose own must not be touched or that has no systemd to run one:
#
#   libvirt.sh start            in the background
#   libvirt.sh run COMMAND…     with it, e.g. vagrant up debian12
#   libvirt.sh stop             and all its machines, networks and disks with it
#
# It lives in mount, network and process namespaces of its own: bridges and firewall rules are not the machine's, it sees no
# cgroups, and nothing is left when it stops. So its machines reach no network but their own; boxes from build.sh
# want no other. Its disks are in FCNODE_LIBVIRT, /var/tmp/fcnode-libvirt by default. As root.
set -euo pipefail
state=${FCNODE_LIBVIRT:-/var/tmp/fcnode-libvirt}

process() { # → the process that is 1 inside
	local outer
	outer=$(cat "$state/pid" 2>/dev/null) || return 1
	awk 'NF {print $1; found = 1} END {exit !found}' "/proc/$outer/task/$outer/children" 2>/dev/null
}

start() {
	if process >/dev/null; then
		echo "libvirt.sh: it runs already" >&2
		return 1
	fi
	mkdir -p "$state"
	rm -f "$state/ready"
	setsid unshare --mount --net --pid --fork --mount-proc --kill-child --propagation private \
		bash "$0" inside </dev/null >"$state/log" 2>&1 &
	echo $! >"$state/pid"
	local i
	for ((i = 0; i < 300; i++)); do
		[ ! -e "$state/ready" ] || return 0
		kill -0 "$(cat "$state/pid")" 2>/dev/null || break
		sleep 0.1
	done
	cat "$state/log" >&2
	echo "libvirt.sh: the daemon did not come up; its output is above" >&2
	return 1
}

# inside runs as process 1 of the namespaces.
inside() {
	local dir
	# Of this network namespace, and without cgroups below it.
	mount -t sysfs sysfs /sys
	for dir in /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
		mkdir -p "$dir" "$state$dir"
		mount --bind "$state$dir" "$dir"
	done
	mkdir -p /etc/libvirt /run/libvirt
	mount -t tmpfs tmpfs /run/libvirt
	mount -t tmpfs tmpfs /etc/libvirt
	printf '%s\n' 'user = "root"' 'group = "root"' 'dynamic_ownership = 0' 'remember_owner = 0' 'security_driver = "none"' \
		'namespaces = []' 'cgroup_controllers = []' 'stdio_handler = "file"' >/etc/libvirt/qemu.conf
	printf '%s\n' 'auth_unix_ro = "none"' 'auth_unix_rw = "none"' 'unix_sock_rw_perms = "0700"' >/etc/libvirt/libvirtd.conf
	# The user it looks up when it starts comes with the package that also has its services.
	if ! getent passwd libvirt-qemu >/dev/null; then
		{ cat /etc/passwd && echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin'; } >"$state/passwd"
		{ cat /etc/group && echo 'libvirt-qemu:x:64055:'; } >"$state/group"
		mount --bind "$state/passwd" /etc/passwd
		mount --bind "$state/group" /etc/group
	fi
	mkdir -p /var/lib/libvirt/images
	ip link set lo up
	libvirtd --config /etc/libvirt/libvirtd.conf &
	until virsh -q -c qemu:///system pool-define-as default dir --target /var/lib/libvirt/images; do
		kill -0 $! || exit 1
		sleep 0.2
	done
	virsh -q -c qemu:///system pool-start default
	touch "$state/ready"
	# Process 1 has to collect what others leave behind; the shell does while it waits.
	while true; do wait -n || sleep 1; done
}

run() { # COMMAND…
	local one
	if ! one=$(process); then
		echo "libvirt.sh: it does not run: libvirt.sh start" >&2
		return 1
	fi
	exec nsenter --target "$one" --mount --net --pid --wdns="$PWD" "$@"
}

stop() {
	local outer
	outer=$(cat "$state/pid" 2>/dev/null) || return 0
	# All that is in its namespace goes with process 1; unshare itself heeds no SIGTERM.
	kill -KILL "$(process)" 2>/dev/null || true
	while kill -0 "$outer" 2>/dev/null; do sleep 0.1; done
	rm -rf --one-file-system "$state"
}

step=${1:-}
shift || true
case $step in
start | inside | run | stop) "$step" "$@" ;;
*)
	sed -n '2,/^# want/s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
