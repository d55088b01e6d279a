#!/bin/bash
# Runs the privileged tests of the binaries made by binaries.sh on this kernel, one package after the other, and
# prints what `go test -json` would:
#
#   root.sh FOLDER PROGRAMS
#
# RUN chooses tests by a regular expression, as go test -run does. Without it, an emulated machine leaves to others what
# tests/vm/left names, and says so.
set -uo pipefail
binaries=$(cd "$1" && pwd) programs=$2
emulated=false
# With KVM it says kvm.
[ "$(systemd-detect-virt --vm 2>/dev/null)" != qemu ] || emulated=true

# Tests that run side by side mostly wait for each other, so there are more of them at a time than processors. What is
# emulated has no processor to spare while they wait; there packages run side by side, since those with one test at a time would
# leave the others' idle.
parallel=4 packages=1
if $emulated; then parallel=$(nproc) packages=$(nproc); fi
scale=${FCNODE_TIME_SCALE:-1}
args=(-test.v=test2json "-test.parallel=$parallel" "-test.timeout=$((20 * ${scale%.*}))m")

leave=false
if $emulated && [ -z "${RUN:-}" ]; then
	leave=true
	"$binaries/leave"
fi

run() { # PACKAGE BINARY FOLDER
	local which=("-test.run=${RUN:-^TestRoot}")
	if $leave; then mapfile -t which < <("$binaries/leave" "$1"); fi
	cd "$3" && FCNODE_ROOT_TESTS=1 FCNODE_BIN_DIR=$programs \
		"$binaries/test2json" -t -p "$1" "$binaries/$2" "${args[@]}" "${which[@]}"
}

all() {
	local package name dir
	while read -r package name dir; do
		while [ "$(jobs -rp | wc -l)" -ge "$packages" ]; do wait -n; done
		(run "$package" "$name" "$dir" || echo "$package" >>"$work/failed") </dev/null &
	done <"$binaries/manifest"
	wait
}

# Through a file: what several append to it is never mixed within a line, as in a pipe long lines are.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What runs in the background does not hear Ctrl-C by itself.
trap 'trap "" TERM; kill 0' INT TERM
: >"$work/out"
all >>"$work/out" &
tail -n +1 -f --pid=$! "$work/out"
[ ! -e "$work/failed" ]
