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
	[fpm]='nginx php-fpm dash'
	[haproxy]=haproxy # these are no sites, but stand in front of some
	[caddy]=caddy
	[wordpress]='apache2-bin libapache2-mod-php php-mysql php-gd php-xml php-mbstring php-curl wordpress wordpress-theme-twentytwentythree ca-certificates media-types dash coreutils'
	[mariadb]='mariadb-server-core mariadb-client-core' # the database of one, and a site itself
	[registry]=docker-registry # where images of sites are pushed to
	# Servers of other protocols, with a client of each.
	[postgres]='postgresql dash'
	[redis]=redis-server
	[ssh]='openssh-server openssh-client dash'
	[exim]='exim4-daemon-light curl'
	[knot]='knot knot-dnsutils'
)
# Of all they depend on, what serves installations only.
unneeded='debconf|perl|perl-base|perl-modules-.*|libperl5.*|adduser|passwd|init-system-helpers|procps|psmisc|lsb-base|sysvinit-utils|ucf|sensible-utils|dpkg|tar|login.*|libpam.*|.*-doc|.*-doc-html|coreutils|systemd.*|libsystemd-shared|nodejs-doc|iproute2|gcc-.*-base|apache2-utils|libnss3.*|libnspr4'
# What one of them needs of that, and what else one of them does not need.
declare -A needed=([wordpress]=coreutils [postgres]=libpam0g [ssh]=libpam0g)
declare -A unneeded_too=(
	[wordpress]='apache2|apache2-data|(default|virtual)-mysql-client|mariadb-.*|mysql-common|libmariadb3|lib.*-perl|fonts-.*|debianutils|openssl|usrmerge|libproc2-0'
	[mariadb]='lib.*-perl|usrmerge|libaudit.*|libsem.*|libsepol2'
	[registry]='lib.*-perl|usrmerge|libaudit.*|libsem.*|libsepol2'
	[postgres]='lib.*-perl|libllvm.*|libz3.*|locales.*|postgresql-(client-)?common|ssl-cert|openssl|netbase|readline-common|distro-info-data|libproc2-0'
	[redis]='lib.*-perl|usrmerge|libaudit.*|libsem.*|libsepol2'
	[knot]='lib.*-perl|usrmerge|libaudit.*|libsem.*|libsepol2'
	[ssh]='openssh-sftp-server|runit-helper|libfido2.*|lib.*-perl|libproc2-0'
	[fpm]='lib.*-perl|usrmerge|libaudit.*|libsem.*|libsepol2|iproute2'
	[exim]='exim4-config|cron.*|netbase|lib.*-perl|openssl|ca-certificates'
)
# All of them together, as they are kept.
limit_mib=1200

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
	! declare -F "finish_$1" >/dev/null || "finish_$1" "$root"
	[ ! -d "$here/files/$1" ] || cp -r "$here/files/$1/." "$root/"
	# One name for what has its version in its name; the package's own scripts would choose.
	link_one "$root/usr/bin/php" "$root"/usr/bin/php[0-9]*
	link_one "$root/usr/lib/apache2/modules/libphp.so" "$root"/usr/lib/apache2/modules/libphp[0-9]*.so
}
# layers turns a root file system into the layers of an image, which others build on: what it runs on, and the FOLDER that is its own. Each
# is NAME.tar.gz with its two digests beside it, so that nobody has to read it for them: that of the file, and that of the tar in it.
layers() { # ROOT FOLDER
	mv "$1" "$1.root"
	mkdir "$1"
	layer "$1/base" -C "$1.root" --exclude="./$2/*" .
	layer "$1/own" -C "$1.root" "./$2"
	rm -rf --one-file-system "$1.root"
}
layer() { # FILE ARGUMENTS OF TAR…
	local file=$1
	shift
	# Any time but 0, for which PHP's OPcache keeps no file: each page would be compiled anew.
	tar -c --sort=name --mtime=2020-01-01T00:00:00Z --numeric-owner "$@" | tee >(sha256sum >"$file.tar.sha256") | gzip -n >"$file.tar.gz"
	sha256sum <"$file.tar.gz" >"$file.tar.gz.sha256"
}
link_one() { # LINK FILE…
	if [ ! -e "$1" ] && [ -e "$2" ]; then ln -s "$(basename "$2")" "$1"; fi
}

# enter runs a program of a root file system in it, with the devices that some look for; AS=UID:GID names another user than root.
enter() { # ROOT COMMAND…
	unshare --mount sh -c 'mount --rbind /dev "$1/dev" && exec chroot --userspec "${AS:-0:0}" "$@"' enter "$@"
}

# finish_postgres gives it its first cluster, which initdb would take seconds for.
finish_postgres() { # ROOT
	local program
	echo 'postgres:x:106:106::/var/lib/postgresql:/bin/sh' >>"$1/etc/passwd"
	echo 'postgres:x:106:' >>"$1/etc/group"
	for program in postgres psql initdb pg_isready; do ln -sf "$(cd "$1" && echo /usr/lib/postgresql/*/bin)/$program" "$1/usr/bin/$program"; done
	install -d -o 106 -g 106 "$1/var/lib/postgresql" "$1/run/postgresql"
	AS=106:106 enter "$1" /usr/bin/initdb -D /var/lib/postgresql/data -U postgres --auth=trust \
		--encoding=UTF8 --locale=C --no-sync >/dev/null
	echo 'host all all all trust' >>"$1/var/lib/postgresql/data/pg_hba.conf"
}

# finish_ssh gives it its host key, and the key of a client whom it knows; both lie in the cache for anybody to read.
finish_ssh() { # ROOT
	echo 'sshd:x:107:65534::/run/sshd:/bin/false' >>"$1/etc/passwd"
	install -d -m 0755 "$1/run/sshd" "$1/etc/ssh"
	install -d -m 0700 "$1/root/.ssh"
	enter "$1" /usr/bin/ssh-keygen -q -t ed25519 -N '' -C host -f /etc/ssh/ssh_host_ed25519_key
	enter "$1" /usr/bin/ssh-keygen -q -t ed25519 -N '' -C visitor -f /root/.ssh/id_ed25519
	cp "$1/root/.ssh/id_ed25519.pub" "$1/root/.ssh/authorized_keys"
	echo "* $(cut -d' ' -f1,2 "$1/etc/ssh/ssh_host_ed25519_key.pub")" >"$1/root/.ssh/known_hosts"
}

finish_exim() { # ROOT
	echo 'Debian-exim:x:101:101::/var/spool/exim4:/bin/false' >>"$1/etc/passwd"
	echo 'Debian-exim:x:101:' >>"$1/etc/group"
}

# finish_mariadb gives it its system tables, which its first start would take seconds for.
finish_mariadb() { # ROOT
	install -d -o 65534 -g 65534 "$1/var/lib/mysql" "$1/run/mysqld"
	{
		printf '%s\n' 'create database mysql;' 'use mysql;'
		(cd "$1/usr/share/mysql" && cat mysql_{system_tables,performance_tables,system_tables_data}.sql maria_add_gis_sp_bootstrap.sql)
	} | chroot "$1" /usr/sbin/mariadbd --no-defaults --bootstrap --silent-startup --user=nobody --datadir=/var/lib/mysql --innodb-log-file-size=4M
}

# finish_wordpress lays it out as the well-known image does: all of it in /var/www/html, which is the site's own, with PHP's
# extensions enabled.
finish_wordpress() { # ROOT
	local ini version
	mkdir -p "$1/var/www" "$1/etc/ssl/certs"
	cat "$1"/usr/share/ca-certificates/mozilla/*.crt >"$1/etc/ssl/certs/ca-certificates.crt"
	chroot "$1" cp -aL /usr/share/wordpress /var/www/html # its links lead all over /usr/share
	chown -R 33:33 "$1/var/www/html"
	rm -rf "$1"/usr/share/{wordpress,javascript} "$1"/usr/share/php/getid3 "$1/var/lib/wordpress" "$1/etc/wordpress"
	for version in "$1"/usr/lib/php/[0-9].*; do
		version=$(basename "$version")
		mkdir -p "$1/etc/php/$version"/{apache2,cli}/conf.d
		cp "$1/usr/lib/php/$version/php.ini-production" "$1/etc/php/$version/apache2/php.ini"
		cp "$1/usr/lib/php/$version/php.ini-production.cli" "$1/etc/php/$version/cli/php.ini"
		for ini in "$1/usr/share/php$version"-*/*/*.ini; do # each names its place in the order: ; priority=20
			tee "$1/etc/php/$version"/{apache2,cli}/conf.d/"$(sed -n 's/^; *priority=//p' "$ini" | head -n 1)-$(basename "$ini")" <"$ini" >/dev/null
		done
	done
}

begin=$SECONDS
echo "build.sh: making the applications (once; kept in $out)" >&2
own_apt update
declare -A files
for app in "${!packages[@]}"; do # before the first download: apt does not name what it has
	files[$app]=$(own_apt install --print-uris ${packages[$app]} | awk '{print $2}' |
		awk -v need="^(${needed[$app]:--})_" -v not="^($unneeded|${unneeded_too[$app]:--})_" '$0 ~ need || $0 !~ not')
done
for app in "${!packages[@]}"; do own_apt install --download-only ${packages[$app]}; done
for app in "${!packages[@]}"; do build "$app"; done
rm -rf "$work/apt"
layers "$work/root/wordpress" var/www/html
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
