#!/bin/bash
# Makes the root file systems of the real applications that tests run as sites (table: apps.go), once:
#
#   build.sh         prints the folder that holds them, one sub-folder each
#   build.sh -disk   prints the path of a disk with the same, for the rig's machines
#
# Each is what Debian's packages of this machine's release hold, unpacked, with their dependencies but for what only an
# installation uses, and files/APPLICATION over that. Packages come from where this machine's own apt takes them. The result is
# kept in ${XDG_CACHE_HOME:-~/.cache}/fcnode/apps, in a folder named after the recipe's content to which the link "current"
# leads. FCNODE_APPS_REFRESH=1 builds anew, for newer packages. Needs root, or sudo.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fcnode/apps
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
key=$(cd "$here" && find build.sh files -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-12)
out=$cache/$release-$key

declare -A packages=(
	[nginx]=nginx
	[python]=python3
	[php]=php-cli
	[node]=nodejs
	[apache]='apache2 libapache2-mod-php'
	[haproxy]=haproxy # these are no sites, but stand in front of some
	[caddy]=caddy
)
# Of all they depend on, what serves installations only.
unneeded='debconf|perl|perl-base|perl-modules-.*|libperl5.*|adduser|passwd|init-system-helpers|procps|psmisc|lsb-base|sysvinit-utils|ucf|sensible-utils|dpkg|tar|login.*|libpam.*|.*-doc|.*-doc-html|coreutils|systemd.*|libsystemd-shared|nodejs-doc|iproute2|gcc-.*-base|apache2-utils|libnss3.*|libnspr4'
# All of them together, unpacked.
limit_mib=500

result() {
	case ${1:-} in
	-disk) echo "$out/apps.ext4" ;;
	'') echo "$out/root" ;;
	*)
		echo "usage: build.sh [-disk]" >&2
		exit 2
		;;
	esac
}

if [ -e "$out/complete" ] && [ "${FCNODE_APPS_REFRESH:-}" != 1 ]; then
	[ "$(readlink "$cache/current")" = "$(basename "$out")" ] || ln -sfn "$(basename "$out")" "$cache/current"
	result "$@"
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	exec sudo env XDG_CACHE_HOME="${XDG_CACHE_HOME:-$HOME/.cache}" FCNODE_APPS_REFRESH="${FCNODE_APPS_REFRESH:-}" bash "$here/build.sh" "$@"
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 0755 "$work"

# apt with lists, a cache and a record of installed packages (none) of its own; the machine's stay as they are.
mkdir -p "$work/apt/parts" "$work/apt/lists/partial" "$work/apt/archives/partial"
: >"$work/apt/status"
"$here/../vm/aptsource.sh" "$release" >"$work/apt/parts/own.list"
own_apt() {
	apt-get -qq -y --no-install-recommends -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/apt/parts" \
		-o "Dir::State::Lists=$work/apt/lists" -o "Dir::State::status=$work/apt/status" -o "Dir::Cache::archives=$work/apt/archives" \
		-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root -o Acquire::Languages=none -o Debug::NoLocking=true "$@"
}

build() { # APPLICATION
	local root=$work/root/$1 dir deb
	mkdir -p "$root/usr" "$root"/{etc,proc,sys,dev,run,srv,root,var/log,var/lib}
	install -d -m 1777 "$root/tmp" "$root/var/tmp"
	for dir in bin sbin lib lib64; do
		mkdir "$root/usr/$dir"
		ln -s "usr/$dir" "$root/$dir"
	done
	for deb in ${files[$1]}; do
		dpkg-deb --fsys-tarfile "$work/apt/archives/$deb" | tar -x -C "$root" --keep-directory-symlink \
			--exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/lintian/*'
	done
	printf '%s\n' 'root:x:0:0::/root:/bin/sh' 'www-data:x:33:33::/srv:/bin/false' 'nobody:x:65534:65534::/:/bin/false' >"$root/etc/passwd"
	printf '%s\n' 'root:x:0:' 'www-data:x:33:' 'nogroup:x:65534:' >"$root/etc/group"
	[ ! -d "$here/files/$1" ] || cp -r "$here/files/$1/." "$root/"
	# One name for what has its version in its name; the package's own scripts would choose.
	link_one "$root/usr/bin/php" "$root"/usr/bin/php[0-9]*
	link_one "$root/usr/lib/apache2/modules/libphp.so" "$root"/usr/lib/apache2/modules/libphp[0-9]*.so
}
link_one() { # LINK FILE…
	if [ ! -e "$1" ] && [ -e "$2" ]; then ln -s "$(basename "$2")" "$1"; fi
}

begin=$SECONDS
echo "build.sh: making the applications (once; kept in $out)" >&2
own_apt update
declare -A files
for app in "${!packages[@]}"; do # before the first download: apt does not name what it has
	files[$app]=$(own_apt install --print-uris ${packages[$app]} | awk '{print $2}' | grep -Ev "^($unneeded)_")
done
for app in "${!packages[@]}"; do own_apt install --download-only ${packages[$app]}; done
for app in "${!packages[@]}"; do build "$app"; done
rm -rf "$work/apt"
size=$(du -sm "$work/root" | cut -f1)
if [ "$size" -gt $limit_mib ]; then
	echo "build.sh: the applications take $size MiB, more than $limit_mib: something new is among their dependencies" >&2
	du -sm "$work"/root/* >&2
	exit 1
fi
truncate -s "$((size * 5 / 4 + 32))M" "$work/apps.ext4"
mkfs.ext4 -q -F -L apps -O ^has_journal -d "$work/root" "$work/apps.ext4"
touch "$work/complete"
rm -rf --one-file-system "$out"
mv "$work" "$out"
ln -sfn "$(basename "$out")" "$cache/current"
echo "build.sh: $size MiB of applications took $((SECONDS - begin)) s" >&2
result "$@"
