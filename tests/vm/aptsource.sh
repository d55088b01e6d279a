#!/bin/bash
# Prints the line of an apt source for another release of Debian, from where this machine takes its own:
#
#   aptsource.sh RELEASE     e.g. trixie, bookworm-backports
#
# The archive is the first one in apt's configuration that serves the component main and is not the security archive.
set -euo pipefail
release=${1:?usage: aptsource.sh RELEASE}

deb822() { # FILE → "URI SIGNED-BY" of each stanza that fits
	awk 'function flush() {if (uri && main && suite !~ /security/) print uri, key; uri = key = suite = ""; main = 0}
		/^[[:space:]]*$/ {flush(); next}
		tolower($1) == "uris:" {uri = $2}
		tolower($1) == "signed-by:" {key = $2}
		tolower($1) == "suites:" {suite = $2}
		tolower($1) == "components:" {main = / main( |$)/}
		END {flush()}' "$1"
}
one_line() { # FILE → the same of a file in the old style: deb [options] URI SUITE COMPONENT…
	awk '$1 == "deb" && / main( |$)/ {key = ""
		if (match($0, /signed-by=[^] ]+/)) key = substr($0, RSTART + 10, RLENGTH - 10)
		sub(/\[[^]]*\]/, "")
		if ($3 !~ /security/) print $2, key}' "$1"
}
sources() {
	local f
	for f in /etc/apt/sources.list.d/*.sources; do [ -e "$f" ] && deb822 "$f"; done
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do [ -e "$f" ] && one_line "$f"; done
	true
}
found=$(sources)
read -r uri key <<<"$found" || true
if [ -z "${uri:-}" ]; then
	echo "aptsource.sh: no Debian archive in /etc/apt/sources.list or /etc/apt/sources.list.d" >&2
	exit 1
fi
echo "deb ${key:+[signed-by=$key] }$uri $release main"
