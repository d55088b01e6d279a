#!/bin/bash
# Installs what fcnode's build and tests need from Debian's packages, on Debian 12 and 13:
#
#   deps.sh compile the compiler of fcnode-runner and fcnode-monitor (C), and git and make
#   deps.sh build   also the one for BPF, which `make generate` needs
#   deps.sh demo    what the demo and the tests call on this machine
#   deps.sh criu    a CRIU that works on this kernel (packaging/criu.sh); without one all but checkpoints works
#   deps.sh bench   what `make bench` compares fcnode with
#   deps.sh vm      what the VM rig needs: QEMU and mmdebstrap
#   deps.sh vagrant Vagrant and its provider for libvirt: enough for `vagrant validate`
#   deps.sh libvirt also what runs machines and makes boxes (docs/vagrant.md)
#
# Quick, and without asking any server, when everything is there already. As root, or with sudo.
set -euo pipefail

compile_packages=(gcc libc6-dev libseccomp-dev pkg-config git make)
build_packages=("${compile_packages[@]}" clang-19 llvm-19 libbpf-dev)
demo_packages=(iproute2 kmod xfsprogs)
bench_packages=(runc podman)
vm_packages=(mmdebstrap e2fsprogs xz-utils zstd kmod)
vagrant_packages=(vagrant vagrant-libvirt)
libvirt_packages=("${vagrant_packages[@]}" libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-config-network libvirt-clients
	dnsmasq-base iptables qemu-utils fdisk rsync openssh-client)
# Older ones emulate badly: guests of QEMU 7.2 panic at random.
qemu_min=10

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
		echo "deps.sh: must be run as root, or sudo be installed, to install packages" >&2
		return 1
	fi
}

missing() { # PACKAGE… → those that are not installed
	local p
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
	done
}

install_missing() {
	local need
	mapfile -t need < <(missing "$@")
	[ ${#need[@]} -gt 0 ] || return 0
	echo "deps.sh: installing ${need[*]}" >&2
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${need[@]}" >&2
}

# The Go that go.mod asks for is not in Debian stable, so it is only checked for. A Go that is a
# little too old, as Debian 13's golang-go, fetches the right toolchain by itself (GOTOOLCHAIN=auto).
check_go() {
	local want have
	want=$(awk '$1 == "go" {print $2; exit}' go.mod)
	if ! command -v go >/dev/null; then
		echo "deps.sh: no go command found: install Go $want or newer (Debian 13: apt install golang-go, which fetches it; Debian 12: golang-go of backports; or the archive of the Go project)" >&2
		return 1
	fi
	have=$(go env GOVERSION | sed 's/^go//; s/ .*//') || true # it says itself what kept it from fetching another
	if [ "$(printf '%s\n' "$want" "$have" | sort -V | head -n 1)" != "$want" ]; then
		echo "deps.sh: go is ${have:-of no use here}, and go.mod asks for $want: install a newer Go, or set GOTOOLCHAIN=auto" >&2
		return 1
	fi
}

qemu_version() { { qemu-system-x86_64 --version 2>/dev/null || true; } | sed -n 's/^QEMU emulator version \([0-9]*\).*/\1/p'; }

# install_qemu takes QEMU from this release where that is new enough (Debian 13), else from the
# release's backports. Those are asked through a package list of our own: the machine's configuration of
# apt stays as it is.
install_qemu() {
	local have own args codename
	have=$(qemu_version)
	[ "${have:-0}" -ge $qemu_min ] && return 0
	echo "deps.sh: installing QEMU $qemu_min or newer" >&2
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	own=$(mktemp -d)
	trap 'rm -rf "$own"' RETURN
	mkdir -p "$own/parts" "$own/lists/partial"
	chmod 0755 "$own"
	cp /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list "$own/parts/" 2>/dev/null || true
	tests/vm/aptsource.sh "$codename-backports" >"$own/parts/backports.list"
	args=(-o "Dir::Etc::SourceParts=$own/parts" -o "Dir::State::Lists=$own/lists")
	as_root apt-get "${args[@]}" update -qq
	if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get "${args[@]}" install -qq -y --no-install-recommends \
		-t "$codename-backports" qemu-system-x86 >&2; then
		as_root env DEBIAN_FRONTEND=noninteractive apt-get "${args[@]}" install -qq -y --no-install-recommends qemu-system-x86 >&2
	fi
	have=$(qemu_version)
	if [ "${have:-0}" -lt $qemu_min ]; then
		echo "deps.sh: QEMU is $have after installing it; the rig needs $qemu_min (Debian 12: bookworm-backports)" >&2
		return 1
	fi
}

cd "$(dirname "$0")/.."
for set in "$@"; do
	# One command after the other, not joined by &&: what fails in such a list does not end the script.
	case $set in
	compile)
		check_go
		install_missing "${compile_packages[@]}"
		;;
	build)
		check_go
		install_missing "${build_packages[@]}"
		;;
	bench) install_missing "${bench_packages[@]}" ;;
	demo) install_missing "${demo_packages[@]}" ;;
	criu) packaging/criu.sh || echo "deps.sh: going on without CRIU" >&2 ;;
	vm)
		install_missing "${vm_packages[@]}"
		install_qemu
		;;
	vagrant) install_missing "${vagrant_packages[@]}" ;;
	libvirt)
		install_missing "${vm_packages[@]}" "${libvirt_packages[@]}"
		install_qemu
		;;
	*)
		echo "deps.sh: unknown set $set; known are compile, build, demo, criu, bench, vm, vagrant, libvirt" >&2
		exit 2
		;;
	esac
done
