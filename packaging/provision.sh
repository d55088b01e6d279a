#!/bin/bash
# Makes a Debian machine (12, 13 or sid) one for fcnode's tests. As root, from a checkout:
#
#   provision.sh packages             prints what every machine gets, and the rig's images are made of
#   provision.sh base                 installs that, and CRIU where the release has it
#   provision.sh tools                also what builds fcnode, compilers and Go, and a CRIU that is new enough
#   provision.sh kernel RELEASE       the kernel of another release of Debian, from the next boot on
#   provision.sh machine              what only a running machine can tell and have: is it emulated; controllers, swap
#   provision.sh tests                what the tests want of a machine that is theirs: a disk to fill, the rig's rights
#
# and for the topology of the Vagrantfile:
#
#   provision.sh storage NETWORK      exports /srv/fcnode to it by NFS
#   provision.sh node STORAGE PREFIX4 PREFIX6 UPLINK   fcnode as a service; the storage on /mnt/storage; clients come in
#                                     on the link that has the address UPLINK
#   provision.sh client PREFIX=NODE…  sends what is for the sites of a prefix to its node
#
# The same file serves the rig's images (tests/vm/image.sh), boxes (packaging/box/build.sh) and vagrant up. Each step looks
# first: where everything is there already it asks no server, so a machine made of a box from `make box` needs no network.
set -euo pipefail

# What the tests and the node use, besides what every Debian has.
base_packages=(kmod iproute2 procps systemd systemd-sysv dbus apparmor xfsprogs)
here=$(cd "$(dirname "$0")" && pwd)
# What the machine is brought, and what it keeps, for fcnode's tests.
state=/var/cache/fcnode

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The package lists are asked for once, and only when something is missing.
updated=false
update() {
	$updated || apt-get update -qq
	updated=true
}
install() { # PACKAGE…
	local p need=()
	for p in "$@"; do installed "$p" || need+=("$p"); done
	[ ${#need[@]} -gt 0 ] || return 0
	echo "provision.sh: installing ${need[*]}"
	update
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${need[@]}" >/dev/null
}

base() {
	install "${base_packages[@]}"
	installed criu && return 0
	[ -n "$(apt-cache madison criu)" ] || update
	if [ -n "$(apt-cache madison criu)" ]; then install criu; else echo "provision.sh: no criu in this release"; fi
}

tools() {
	base
	install_go
	install git make e2fsprogs
	"$here/deps.sh" compile demo
	"$here/criu.sh"
}

# install_go takes the newest Go of this release or its backports; a Go that is older than go.mod asks for then
# fetches the right one by itself, which Debian's does only when it is told to.
install_go() {
	command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
	if ! command -v go >/dev/null; then
		local codename
		codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
		# sid has no backports and calls itself by the next release's name.
		if ! grep -q sid /etc/debian_version; then
			"$here/../tests/vm/aptsource.sh" "$codename-backports" >/etc/apt/sources.list.d/fcnode-backports.list
			update
			DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -t "$codename-backports" golang-go >/dev/null
		fi
		install golang-go
	fi
	# sudo's own search path has no /usr/local/go/bin.
	[ -e /usr/local/bin/go ] || [ ! -x /usr/local/go/bin/go ] || ln -s /usr/local/go/bin/go /usr/local/bin/go
	setting GOTOOLCHAIN auto
}

# setting makes a variable known to logins, and to commands under sudo, which drops all others.
setting() { # NAME VALUE
	touch /etc/environment
	sed -i "/^$1=/d" /etc/environment
	echo "$1=$2" >>/etc/environment
	[ ! -d /etc/sudoers.d ] || echo 'Defaults env_file=/etc/environment' >/etc/sudoers.d/fcnode
}

kernel() { # RELEASE
	local release=$1
	"$here/../tests/vm/aptsource.sh" "$release" >/etc/apt/sources.list.d/fcnode-kernel.list
	# Nothing else is taken from there.
	printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$release" >/etc/apt/preferences.d/fcnode-kernel
	update
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -t "$release" linux-image-amd64 >/dev/null
}

machine() {
	swap
	# systemd hands down only the controllers that some unit asks for; this one asks for all.
	printf '%s\n' '[Unit]' 'Description=All cgroup controllers below the root, for the tests of fcnode' '[Service]' Type=oneshot \
		RemainAfterExit=yes Delegate=yes ExecStart=true '[Install]' WantedBy=multi-user.target >/etc/systemd/system/fcnode-controllers.service
	systemctl daemon-reload
	systemctl enable --quiet --now fcnode-controllers
	# The tests' deadlines are for real processors; the rig's for an emulated machine are as much longer (tests/vm/machine.go).
	if [ "$(systemd-detect-virt)" = qemu ]; then setting FCNODE_TIME_SCALE 10; fi
	# Modules that the Vagrantfile brought because the box has not those of this go.sum.
	if [ -d "$state/modules" ]; then setting GOPROXY "file://$state/modules,direct"; fi
	# `vagrant ssh -c 'sudo make test-root'` shall find the Makefile.
	echo '[ "$PWD" = "$HOME" ] && [ -e /vagrant/go.mod ] && cd /vagrant || true' >/etc/profile.d/fcnode.sh
}

# swap is of the kind that the rig's machines have (tests/vm/guest): a file behind zswap where the kernel has that, else
# compressed memory. Sites that sleep reclaimed go there.
swap() {
	local file=$state/swap
	mkdir -p "$state"
	# No tool loads it when it is first used.
	echo zram >/etc/modules-load.d/fcnode.conf
	modprobe zram
	if [ ! -e "$file" ] && [ -e /sys/module/zswap ]; then
		command install -m 0600 /dev/null "$file"
		fallocate -l 512M "$file"
		mkswap "$file" >/dev/null
	fi
	cat >/usr/local/sbin/fcnode-swap <<-END
		#!/bin/sh
		set -e
		if [ -e /sys/module/zswap ]; then
			echo Y >/sys/module/zswap/parameters/enabled
			exec swapon $file
		fi
		echo 512M >/sys/block/zram0/disksize
		mkswap /dev/zram0
		exec swapon /dev/zram0
	END
	chmod +x /usr/local/sbin/fcnode-swap
	printf '%s\n' '[Unit]' 'Description=Swap for the sites of fcnode that sleep' '[Service]' Type=oneshot RemainAfterExit=yes \
		ExecStart=/usr/local/sbin/fcnode-swap '[Install]' WantedBy=multi-user.target >/etc/systemd/system/fcnode-swap.service
	systemctl daemon-reload
	systemctl enable --quiet --now fcnode-swap
}

# tests: the machine is made for them and thrown away after them.
tests() {
	local disk=$state/scratch.ext4 dir=$state/scratch
	mkdir -p "$dir"
	if [ ! -e "$disk" ]; then
		truncate -s 128M "$disk"
		mkfs.ext4 -q -F -O ^has_journal "$disk"
	fi
	grep -q " $dir " /etc/fstab || echo "$disk $dir ext4 loop,noatime 0 0" >>/etc/fstab
	mountpoint -q "$dir" || mount "$dir"
	setting FCNODE_SCRATCH "$dir"
	# What tests/systemd installs for real may be installed here.
	setting FCNODE_OWN_MACHINE 1
	# The applications, where the Vagrantfile brought them; else `make test-root` makes them.
	if [ -d "$state/apps" ]; then setting FCNODE_APPS "$state/apps"; fi
}

storage() { # NETWORK
	install nfs-kernel-server
	mkdir -p /srv/fcnode /etc/exports.d
	# Nodes keep there what belongs to root.
	echo "/srv/fcnode $1(rw,sync,no_subtree_check,no_root_squash)" >/etc/exports.d/fcnode.exports
	systemctl enable --quiet --now nfs-server
	exportfs -ra
}

node() { # STORAGE PREFIX4 PREFIX6 UPLINK
	local link
	install nfs-common
	mkdir -p /mnt/storage
	sed -i '\# /mnt/storage #d' /etc/fstab
	# Mounted when it is first used, so that neither machine has to be there before the other.
	echo "$1:/srv/fcnode /mnt/storage nfs4 rw,hard,nofail,_netdev,x-systemd.automount 0 0" >>/etc/fstab
	systemctl daemon-reload
	systemctl restart remote-fs.target mnt-storage.automount
	link=$(ip -o -4 address show | awk -v a="$4" '{split($4, p, "/"); if (p[1] == a) print $2}')
	if [ -z "$link" ]; then
		echo "provision.sh: no link has the address $4, where clients come in" >&2
		return 1
	fi
	mkdir -p /etc/fcnode
	printf '# Made by packaging/provision.sh at each `vagrant provision`.\nprefixes: [%s, "%s"]\nuplinks: [%s]\n' \
		"$2" "$3" "$link" >/etc/fcnode/fcnode.yaml
	# Of what the Vagrantfile brought, where it did (FCNODE_BUILT).
	make -C "$here/.." --no-print-directory install BUILT="${BUILT:-}"
	systemctl enable --quiet fcnode
	systemctl restart fcnode
}

client() { # PREFIX=NODE…
	local pair
	install curl
	{
		printf '[Unit]\nDescription=Routes to the sites of the nodes\nAfter=network-online.target\nWants=network-online.target\n'
		printf '[Service]\nType=oneshot\nRemainAfterExit=yes\n'
		for pair in "$@"; do echo "ExecStart=ip route replace ${pair%%=*} via ${pair#*=}"; done
		printf '[Install]\nWantedBy=multi-user.target\n'
	} >/etc/systemd/system/fcnode-routes.service
	systemctl daemon-reload
	systemctl enable --quiet fcnode-routes
	systemctl restart fcnode-routes
}

step=${1:-}
shift || true
case $step in
packages) printf '%s\n' "${base_packages[@]}" ;;
base | tools | kernel | machine | tests | storage | node | client) "$step" "$@" ;;
*)
	sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
