#!/bin/bash
# Makes a Vagrant box (provider libvirt) of one Debian release, on which everything is installed already, so that
# `vagrant up` needs no network:
#
#   build.sh bookworm|trixie|sid [FOLDER]      FOLDER/fcnode-RELEASE.box; default folder: bin/boxes
#
# BUILT=1 leaves out what compiling leaves behind, half of the time that a box takes: for machines that are brought what was
# built outside (FCNODE_BUILT=1, docs/vagrant.md).
#
# Debian comes from where this machine's own apt takes it, with the release's cloud kernel; packaging/provision.sh installs the
# rest, as on any other machine. Go is this machine's, with the modules that the build and the tests take, the applications of
# tests/apps, and what compiling HEAD leaves in Go's build cache: an emulated machine would need half an hour for that.
# Wants root, or sudo, and what `packaging/deps.sh libvirt` installs.
set -euo pipefail

release=${1:?usage: build.sh bookworm|trixie|sid [FOLDER]}
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
out=$(realpath -m "${2:-$tree/bin/boxes}")
size=16 # GiB, of which nothing is taken before it is written

goroot=$(go env GOROOT) modcache=$(go env GOMODCACHE) proxy=$(go env GOPROXY)
if [ "$(id -u)" != 0 ]; then
	exec sudo env "PATH=$PATH" "HOME=$HOME" "GOMODCACHE=$modcache" "BUILT=${BUILT:-}" bash "$here/build.sh" "$release" "$out"
fi
# In a mount namespace of its own, so that nothing stays mounted however this ends.
if [ "${FCNODE_BOX_NAMESPACE:-}" != 1 ]; then
	exec unshare --mount --propagation private env FCNODE_BOX_NAMESPACE=1 bash "$here/build.sh" "$release" "$out"
fi

mkdir -p "$out"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/fcnode-box.XXXXXX")
root=$work/root
cleanup() {
	umount -l "$root/mnt" "$root/proc" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT

# stage runs a function with its output in the log, and shows the log's end when it fails.
stage() { # FUNCTION
	local begin=$SECONDS
	# Not in a condition, where the shell would go on after an error.
	set +e
	(
		set -e
		"$1"
	) >"$work/log" 2>&1 </dev/null
	local status=$?
	set -e
	if [ $status != 0 ]; then
		tail -n 40 "$work/log" >&2
		echo "build.sh: $release: $1 failed; the end of its log is above" >&2
		exit 1
	fi
	echo "build.sh: $release: $1 took $((SECONDS - begin)) s" >&2
}

inside() { chroot "$root" env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
put() { # PATH : writes standard input there
	mkdir -p "$(dirname "$root$1")"
	cat >"$root$1"
}

# What makes a root file system a box: it boots, has an address, lets Vagrant in, which wants scp: sid's server comes without the client
# that has it. And what the topology's machines run.
box_packages=(linux-image-cloud-amd64 initramfs-tools grub-pc-bin grub-common udev libpam-systemd systemd-resolved
	openssh-server openssh-client sudo rsync ca-certificates iputils-ping curl nfs-common nfs-kernel-server)

debian() {
	# The machine's own settings of how to fetch (proxies, time checks of a mirror that lags behind).
	apt-config dump | grep -E '^Acquire::(http|https|Check|Retries)' >"$work/apt.conf" || true
	# No other disks than these; a small initramfs is half of an emulated machine's boot.
	printf 'MODULES=list\n' >"$work/initramfs.conf"
	printf '%s\n' virtio_pci virtio_blk virtio_scsi sd_mod ahci ext4 >"$work/modules"
	mmdebstrap --mode=root --variant=minbase --format=directory --aptopt="$work/apt.conf" --skip=cleanup/apt/lists \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='force-unsafe-io' \
		--include="$("$tree/packaging/provision.sh" packages | paste -sd,)" --include="${box_packages[*]}" \
		--essential-hook="install -D -m 0644 '$work/initramfs.conf' \"\$1/etc/initramfs-tools/conf.d/fcnode\"" \
		--essential-hook="install -D -m 0644 '$work/modules' \"\$1/etc/initramfs-tools/modules\"" \
		--aptopt='DPkg::Options "--force-confold"' \
		"$release" "$root" "$("$tree/tests/vm/aptsource.sh" "$release")"
	cp "$work/apt.conf" "$root/etc/apt/apt.conf.d/90fcnode"
}

tools() {
	# dpkg must not start services in here.
	printf '#!/bin/sh\nexit 101\n' | put /usr/sbin/policy-rc.d
	chmod +x "$root/usr/sbin/policy-rc.d"
	rm -f "$root/etc/resolv.conf"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	cp -a "$goroot" "$root/usr/local/go"
	# The tree as it was committed: what is being worked on may not build.
	mkdir "$root/vagrant"
	git -C "$tree" -c safe.directory="$tree" archive HEAD | tar -x -C "$root/vagrant"
	mount -t proc proc "$root/proc"
	inside /vagrant/packaging/provision.sh tools
	umount "$root/proc"
	rm "$root/usr/sbin/policy-rc.d"
}

# compile builds what `make test-root` builds, in the places where the machine will look for it, and keeps the caches.
compile() {
	mount -t proc proc "$root/proc"
	mount --bind "$modcache/cache/download" "$root/mnt"
	local go=(env "GOPROXY=file:///mnt,$proxy" GOSUMDB=off GOFLAGS=-buildvcs=false)
	inside "${go[@]}" make -C /vagrant VERSION=box build test-binaries
	inside "${go[@]}" sh -c 'cd /vagrant && go tool -modfile=tests/tools/go.mod gotestsum --version && go run ./tests/skips'
	umount "$root/mnt" "$root/proc"
}

configure() {
	# Vagrant brings the tree.
	rm -rf "$root/vagrant"
	mkdir "$root/vagrant"
	inside useradd --create-home --shell /bin/bash vagrant
	echo 'vagrant ALL=(ALL) NOPASSWD: ALL' | put /etc/sudoers.d/vagrant
	chmod 0440 "$root/etc/sudoers.d/vagrant"
	# The key that everybody knows. Vagrant replaces it when it first comes in.
	put /home/vagrant/.ssh/authorized_keys <"$(dpkg -L vagrant | grep '/keys/vagrant.pub$')"
	chmod 0700 "$root/home/vagrant/.ssh"
	inside chown -R vagrant:vagrant /home/vagrant/.ssh /vagrant

	printf 'LABEL=root / ext4 noatime,errors=remount-ro 0 1\n' | put /etc/fstab
	printf 'fcnode-%s\n' "$release" | put /etc/hostname
	printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' | put /etc/hosts
	# Vagrant's way in and, where there is one, out. It configures all other links itself.
	printf '[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\n' | put /etc/systemd/network/80-eth0.network
	ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
	# Since Debian 13 anybody may ping by this, which comes with a package that is only recommended (linux-sysctl-defaults).
	echo 'net.ipv4.ping_group_range = 0 2147483647' | put /etc/sysctl.d/50-ping.conf
	# Each machine makes its own identity when it first boots.
	: | put /etc/machine-id
	rm -f "$root"/etc/ssh/ssh_host_*
	printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n' |
		put /etc/systemd/system/ssh.service.d/fcnode.conf
	inside systemctl enable systemd-networkd systemd-resolved ssh serial-getty@ttyS0
	# Only the storage of the topology runs the server (provision.sh starts it there); nobody fetches package lists.
	inside systemctl disable nfs-server apt-daily.timer apt-daily-upgrade.timer
	rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/tmp/* "$root"/boot/System.map*
}

# disk makes the image without mounting it: GRUB's first sector loads the next ones, which hold its core, and that
# reads the kernel that Debian's links in / name.
disk() {
	local image=$work/disk grub=/usr/lib/grub/i386-pc version link
	version=$(ls "$root/lib/modules")
	for link in vmlinuz initrd.img; do
		[ -e "$root/$link" ] || ln -s "boot/$link-$version" "$root/$link"
	done
	# As the rig's: without mitigations, which an emulator pays dearly for, since only tests run here.
	cat <<-END | put /boot/grub/grub.cfg
		linux /vmlinuz root=LABEL=root ro console=tty0 console=ttyS0 net.ifnames=0 psi=1 mitigations=off
		initrd /initrd.img
		boot
	END
	inside grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o /boot/grub/core.img biosdisk part_msdos ext2 linux normal boot
	truncate -s "${size}G" "$image"
	printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$image"
	# Features that GRUB 2.06 cannot read are left out.
	mkfs.ext4 -q -F -L root -O ^metadata_csum_seed,^orphan_file -E offset=1048576,lazy_itable_init=1 -d "$root" "$image" $((size * 1024 - 1))M
	dd if="$root$grub/boot.img" of="$image" bs=440 count=1 conv=notrunc status=none
	dd if="$root/boot/grub/core.img" of="$image" bs=512 seek=1 conv=notrunc status=none
	rm -rf --one-file-system "$root"
	qemu-img convert -c -W -m 2 -o compression_type=zstd -O qcow2 "$image" "$work/box.img"
	rm "$image"
}

box() {
	printf '{"provider": "libvirt", "format": "qcow2", "virtual_size": %s}\n' "$size" >"$work/metadata.json"
	printf 'Vagrant.configure("2") { |config| config.vm.allow_fstab_modification = false }\n' >"$work/Vagrantfile"
	tar -c -C "$work" -f "$out/.fcnode-$release.box" metadata.json Vagrantfile box.img
	mv "$out/.fcnode-$release.box" "$out/fcnode-$release.box"
	# The Vagrantfile sees by this whether a machine needs other modules than the box has.
	: >"$out/fcnode-$release.go.sum"
	[ "${BUILT:-}" = 1 ] || git -C "$tree" -c safe.directory="$tree" show HEAD:go.sum >"$out/fcnode-$release.go.sum"
}

for s in debian tools compile configure disk box; do
	[ $s = compile ] && [ "${BUILT:-}" = 1 ] || stage $s
done
echo "build.sh: $out/fcnode-$release.box, $(du -m "$out/fcnode-$release.box" | cut -f1) MB, took $SECONDS s" >&2
