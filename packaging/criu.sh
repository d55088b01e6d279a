#!/bin/bash
# Gets a CRIU that works on the running kernel, for the tier "checkpointed":
#
#   criu.sh [PREFIX]     default: /usr/local/lib/fcnode/criu
#   criu.sh -p [PREFIX]  prints the program that is used; fails where there is none
#   criu.sh -u PREFIX    unpacks the newest, whatever is there: for another machine's root (tests/vm/image.sh)
#
# CRIU 3.17 lacks options that fcnode asks for, and what is below 4.2 cannot dump a TCP socket on Linux 6.16 and newer (its
# own `criu check` does not notice). The distribution's is installed where it is new enough. Otherwise the packages of a newer Debian are unpacked, not installed, into
# PREFIX: criu and every library it needs, libc too, run by PREFIX/criu through the loader that came with them. The
# machine's own libraries stay as they are. Asks no server when a good one is there.
set -euo pipefail
cd "$(dirname "$0")/.."

print=false
unpack_only=false
case ${1:-} in
-p) print=true && shift ;;
-u) unpack_only=true && shift ;;
esac
prefix=${1:-/usr/local/lib/fcnode/criu}
releases=(forky sid) # where 4.2 and newer are, the calmer one first

at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; } # VERSION MINIMUM

kernel=$(uname -r)
minimum=4.1 # 3.17 knows no --network-lock skip; 4.1.1 was seen to work on 6.12
at_least "$kernel" 6.16 && minimum=4.2

version() { { "$1" --version 2>/dev/null || true; } | sed -n 's/^Version: *v\{0,1\}\([0-9][0-9.]*\).*/\1/p'; }
usable() {
	local v
	v=$(version "$1")
	[ -n "$v" ] && at_least "$v" "$minimum"
}
find_usable() {
	local c
	for c in "$prefix/criu" "$(PATH=$PATH:/usr/sbin:/sbin command -v criu || true)"; do
		if [ -n "$c" ] && usable "$c"; then
			echo "$c"
			return
		fi
	done
	return 1
}
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
		echo "criu.sh: must be run as root, or sudo be installed, to install CRIU" >&2
		return 1
	fi
}

# distribution installs this release's own criu if that is new enough.
distribution() {
	local candidate
	as_root apt-get update -qq
	candidate=$(LC_ALL=C apt-cache policy criu | awk '$1 == "Candidate:" {print $2}')
	if [ -z "$candidate" ] || [ "$candidate" = "(none)" ] || ! at_least "$candidate" "$minimum"; then return 1; fi
	echo "criu.sh: installing criu $candidate" >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends criu >&2
}

# unpack RELEASE unpacks that release's criu, and what it needs, into PREFIX. apt works on lists, a cache and a
# record of installed packages (none) of its own: nothing of the machine's is touched, and its keys are checked.
unpack() {
	local own args new deb loader triplet
	own=$(mktemp -d)
	new=$prefix.new
	trap 'rm -rf "$own"' RETURN
	mkdir -p "$own/parts" "$own/lists/partial" "$own/archives/partial"
	: >"$own/status"
	tests/vm/aptsource.sh "$1" >"$own/parts/newer.list"
	args=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$own/parts" -o "Dir::State::Lists=$own/lists"
		-o "Dir::State::status=$own/status" -o "Dir::Cache::archives=$own/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
		-o "APT::Sandbox::User=$(id -un)" -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
		-o Acquire::Languages=none -o Debug::NoLocking=true)
	apt-get "${args[@]}" update -qq
	deb=$(LC_ALL=C apt-cache "${args[@]}" policy criu | awk '$1 == "Candidate:" {print $2}')
	if [ -z "$deb" ] || [ "$deb" = "(none)" ] || ! at_least "$deb" "$minimum"; then
		echo "criu.sh: Debian $1 has criu ${deb:-(none)}, Linux $kernel needs $minimum" >&2
		return 1
	fi
	echo "criu.sh: unpacking criu $deb of Debian $1 into $prefix" >&2
	apt-get "${args[@]}" install -qq -y --no-install-recommends --download-only criu >&2
	as_root rm -rf "$new"
	as_root mkdir -p "$new/root"
	for deb in "$own"/archives/*.deb; do as_root dpkg-deb --extract "$deb" "$new/root"; done
	triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)
	loader=$(cd "$new/root" && find . -path "*/$triplet/ld-linux*.so.*" | head -n 1)
	[ -n "$loader" ] || { echo "criu.sh: no loader in libc6 of Debian $1" >&2 && return 1; }
	as_root rm -rf "$new"/root/usr/share "$new"/root/usr/lib/"$triplet"/gconv
	wrapper "${loader#./}" "$triplet" | as_root tee "$new/criu" >/dev/null
	as_root chmod 0755 "$new/criu"
	as_root rm -rf "$prefix.old"
	[ ! -e "$prefix" ] || as_root mv "$prefix" "$prefix.old"
	as_root mv "$new" "$prefix"
	as_root rm -rf "$prefix.old"
}
wrapper() { # LOADER TRIPLET
	cat <<END
#!/bin/sh
# Made by fcnode's packaging/criu.sh: CRIU with the loader and the libraries of its own release.
root=\${0%/*}/root
exec "\$root/$1" --library-path "\$root/usr/lib/$2:\$root/lib/$2" "\$root/usr/sbin/criu" "\$@"
END
}

if $unpack_only; then
	for release in "${releases[@]}"; do
		unpack "$release" && exit 0
	done
	exit 1
fi
if ! find_usable >/dev/null; then
	if $print; then
		echo "criu.sh: no CRIU $minimum or newer for Linux $kernel; packaging/criu.sh gets one (make deps)" >&2
		exit 1
	fi
	if ! distribution; then
		for release in "${releases[@]}"; do
			unpack "$release" && break
		done
	fi
fi
if ! found=$(find_usable); then
	echo "criu.sh: no CRIU $minimum or newer for Linux $kernel could be had: sites cannot be checkpointed (all else works)" >&2
	exit 1
fi
if $print; then echo "$found"; fi
