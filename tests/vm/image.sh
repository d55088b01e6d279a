#!/bin/bash
# Builds, once, the root file system and kernel of one Debian release for the rig:
#
#   image.sh RELEASE            prints the folder that holds them
#
#   root.ext4   minimal Debian of that release with what packaging/provision.sh gives every machine, and the kernel's modules
#   vmlinuz     the release's newest linux-image-cloud-amd64
#   modules/    the few modules that the first stage loads to reach its disks, unpacked, in order
#   release     the kernel's release, as uname -r prints it
#
# Packages come from where this machine's own apt takes them. The result is kept in
# ${XDG_CACHE_HOME:-~/.cache}/fcnode/vm, in a folder named after the recipe's content, so that a changed
# recipe makes a new one. FCNODE_VM_REFRESH=1 builds anew, for newer packages. Needs root, or sudo.
set -euo pipefail

release=${1:?usage: image.sh RELEASE}
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fcnode/vm
provision=$here/../../packaging/provision.sh
# CRIU 3.17 lacks what fcnode asks of it (--network-lock skip): that release gets a newer one too.
newer_criu=
[ "$release" != bookworm ] || newer_criu=$here/../../packaging/criu.sh
key=$({ cat "$here/image.sh" "$here/kernel.sh" $newer_criu && "$provision" packages; } | sha256sum | cut -c1-12)
out=$cache/$release-$key

if [ -e "$out/release" ] && [ "${FCNODE_VM_REFRESH:-}" != 1 ]; then
	echo "$out"
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	exec sudo env XDG_CACHE_HOME="${XDG_CACHE_HOME:-$HOME/.cache}" FCNODE_VM_REFRESH="${FCNODE_VM_REFRESH:-}" bash "$here/image.sh" "$release"
fi

# The modules between the kernel and its disks. All others are on the first disk.
first_modules='virtio_pci virtio_blk virtio_console virtio_rng ext4'

work=$(mktemp -d "${TMPDIR:-/tmp}/fcnode-image.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir -p "$cache"

build_root() {
	# The machine's own settings of how to fetch (proxies, time checks of a mirror that lags behind).
	apt-config dump | grep -E '^Acquire::(http|https|Check|Retries)' >"$work/apt.conf" || true
	mmdebstrap --mode=root --variant=minbase --aptopt="$work/apt.conf" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='force-unsafe-io' \
		--include="$("$provision" packages | paste -sd,)" \
		--customize-hook="cp '$provision' \"\$1/tmp/\" && chroot \"\$1\" /tmp/provision.sh base && rm \"\$1/tmp/provision.sh\"" \
		--customize-hook="sh '$here/kernel.sh' \"\$1\"" \
		${newer_criu:+--customize-hook="env -u APT_CONFIG '$newer_criu' -u \"\$1/usr/local/lib/fcnode/criu\""} \
		"$release" "$work/root" "$("$here/aptsource.sh" "$release")"
}

# extract_modules FOLDER copies the first modules, unpacked, each after those it depends on.
extract_modules() {
	local module kind path name seen=' ' n=100
	for module in $first_modules; do
		# Prints "insmod PATH" lines in the order to load, or "builtin NAME".
		while read -r kind path _; do
			name=$(basename "$path" | sed 's/\.ko.*//')
			case $kind$seen in *builtin*) continue ;; *" $name "*) continue ;; esac
			case $path in
			*.xz) xz -dc "$work/root$path" ;;
			*.zst) zstd -qdc "$work/root$path" ;;
			*) cat "$work/root$path" ;;
			esac >"$1/$n-$name.ko"
			seen="$seen$name "
			n=$((n + 1))
		done < <(chroot "$work/root" modprobe --set-version "$version" --show-depends "$module")
	done
}

echo "image.sh: building the $release image (once; kept in $out)" >&2
begin=$SECONDS
if ! build_root >"$work/log" 2>&1; then
	tail -n 40 "$work/log" >&2
	echo "image.sh: building the $release root file system failed; the end of its log is above" >&2
	exit 1
fi
version=$(ls "$work/root/lib/modules")
rm -rf --one-file-system "$out"
mkdir -p "$out/modules"
extract_modules "$out/modules"
for kernel in "$work/root/boot/vmlinuz-$version" "$work/root/usr/lib/modules/$version/vmlinuz"; do
	if [ -e "$kernel" ]; then mv "$kernel" "$out/vmlinuz"; fi
done
rm -rf "$work"/root/boot/System.map* "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/*
truncate -s 2G "$out/root.ext4"
mkfs.ext4 -q -F -L root -O ^has_journal -E lazy_itable_init=1 -d "$work/root" "$out/root.ext4"
# The release goes last: its presence says that all is there.
echo "$version" >"$out/release"
echo "image.sh: $release with Linux $version took $((SECONDS - begin)) s; $(grep -o 'no criu.*' "$work/log" || true)" >&2
echo "$out"
