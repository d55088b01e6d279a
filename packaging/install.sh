#!/bin/bash
# Installs fcnode, or removes what it installed (make install, make uninstall):
#
#   install.sh install|uninstall DESTDIR PREFIX BIN
#
# The programs lie together in PREFIX/lib/fcnode, where fcnode finds its helpers beside itself. Sites, their data and the
# configuration belong to the operator: neither overwritten nor removed.
set -euo pipefail
action=$1 destdir=$2 prefix=$3 bin=$4
here=$(cd "$(dirname "$0")" && pwd)
lib=$prefix/lib/fcnode

put() { # MODE FROM TO
	install -D -m "$1" "$2" "$destdir$3"
}
filled() { # FILE with @PREFIX@ filled in
	sed "s#@PREFIX@#$prefix#g" "$1" >"$tmp/$(basename "$1")"
	echo "$tmp/$(basename "$1")"
}
# Changes to the running system make sense only where no package is being built.
on_live_system() { [ -z "$destdir" ] && [ "$(id -u)" = 0 ]; }

install_all() {
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	local program shell
	for program in "$bin"/fcnode "$bin"/fcnode-*; do put 0755 "$program" "$lib/$(basename "$program")"; done
	install -d "$destdir$prefix/bin"
	ln -sfn ../lib/fcnode/fcnode "$destdir$prefix/bin/fcnode"
	put 0644 "$(filled "$here/fcnode.service")" "$prefix/lib/systemd/system/fcnode.service"
	put 0644 "$here/fcnode-sites.service" "$prefix/lib/systemd/system/fcnode-sites.service"
	put 0644 "$(filled "$here/fcnode-gateway.service")" "$prefix/lib/systemd/system/fcnode-gateway.service"
	put 0644 "$here/fcnode.sysusers" "$prefix/lib/sysusers.d/fcnode.conf"
	put 0644 "$here/fcnode.tmpfiles" "$prefix/lib/tmpfiles.d/fcnode.conf"
	put 0644 "$here/fcnode.yaml" "$prefix/share/doc/fcnode/fcnode.yaml"
	put 0644 "$here/gateway.yaml" "$prefix/share/doc/fcnode/gateway.yaml"
	put 0644 "$here/fail2ban/fcnode.conf" "$prefix/share/doc/fcnode/fail2ban/fcnode.conf"
	put 0755 "$here/crowdsec/fcnode-bouncer.sh" "$prefix/share/doc/fcnode/crowdsec/fcnode-bouncer.sh"
	"$bin/fcnode" docs --man "$tmp"
	for page in "$tmp"/*.1; do put 0644 "$page" "$prefix/share/man/man1/$(basename "$page")"; done
	for shell in bash zsh fish; do "$bin/fcnode" completion $shell >"$tmp/$shell"; done
	put 0644 "$tmp/bash" "$prefix/share/bash-completion/completions/fcnode"
	put 0644 "$tmp/zsh" "$prefix/share/zsh/site-functions/_fcnode"
	put 0644 "$tmp/fish" "$prefix/share/fish/vendor_completions.d/fcnode.fish"
	local config
	for config in fcnode.yaml gateway.yaml; do
		[ -e "$destdir/etc/fcnode/$config" ] || put 0644 "$here/$config" "/etc/fcnode/$config"
	done
	if on_live_system; then
		systemd-sysusers "$prefix/lib/sysusers.d/fcnode.conf" 2>/dev/null || {
			groupadd --system --force fcnode
			id -u fcnode-gateway >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir /var/lib/fcnode-gateway fcnode-gateway
		}
		install -d -m 0750 -g fcnode /etc/fcnode/sites
		install -d -m 0700 /etc/fcnode/secrets
		[ ! -d /run/systemd/system ] || systemctl daemon-reload
		echo "installed below $prefix; next: fcnode check && systemctl enable --now fcnode"
	fi
}

uninstall_all() {
	if on_live_system; then
		[ ! -d /run/systemd/system ] || systemctl disable --now fcnode-gateway.service fcnode.service 2>/dev/null || true
		# Takes the data path and the sites' processes off the machine, which outlive the daemon.
		if [ -x "$prefix/bin/fcnode" ]; then "$prefix/bin/fcnode" teardown; fi
		[ ! -d /run/systemd/system ] || systemctl stop fcnode-sites.service 2>/dev/null || true
	fi
	rm -f "$destdir$prefix/bin/fcnode" "$destdir$prefix/lib/systemd/system/fcnode.service" "$destdir$prefix/lib/systemd/system/fcnode-sites.service" \
		"$destdir$prefix/lib/systemd/system/fcnode-gateway.service" \
		"$destdir$prefix/lib/sysusers.d/fcnode.conf" "$destdir$prefix/lib/tmpfiles.d/fcnode.conf" \
		"$destdir$prefix/share/bash-completion/completions/fcnode" "$destdir$prefix/share/zsh/site-functions/_fcnode" \
		"$destdir$prefix/share/fish/vendor_completions.d/fcnode.fish" "$destdir$prefix"/share/man/man1/fcnode.1 \
		"$destdir$prefix"/share/man/man1/fcnode-*.1
	rm -rf "$destdir$prefix/share/doc/fcnode" "$destdir$lib"/fcnode "$destdir$lib"/fcnode-*
	# A CRIU that criu.sh put there is none of ours, and stays.
	rmdir --ignore-fail-on-non-empty "$destdir$lib" 2>/dev/null || true
	if on_live_system; then
		[ ! -d /run/systemd/system ] || systemctl daemon-reload
		echo "removed; kept: /etc/fcnode, /var/lib/fcnode (sites, their data and logs), /var/lib/fcnode-gateway"
	fi
}

case $action in
install) install_all ;;
uninstall) uninstall_all ;;
*)
	echo "install.sh: unknown action $action; known are install, uninstall" >&2
	exit 2
	;;
esac
