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
failed=0
emulated=false
# With KVM it says kvm.
[ "$(systemd-detect-virt --vm 2>/dev/null)" != qemu ] || emulated=true

# Tests that run side by side mostly wait for each other, so there are more of them at a time than processors; what
# is emulated has no processor to spare while they wait.
parallel=4
if $emulated; then parallel=$(nproc); fi
scale=${FCNODE_TIME_SCALE:-1}
args=(-test.v=test2json "-test.parallel=$parallel" "-test.timeout=$((20 * ${scale%.*}))m" "-test.run=${RUN:-^TestRoot}")

leave=false
if $emulated && [ -z "${RUN:-}" ]; then
	leave=true
	"$binaries/leave"
fi
while read -r package name dir; do
	skip=
	if $leave; then skip=$("$binaries/leave" "$package"); fi
	(cd "$dir" && FCNODE_ROOT_TESTS=1 FCNODE_BIN_DIR=$programs \
		"$binaries/test2json" -t -p "$package" "$binaries/$name" "${args[@]}" "-test.skip=$skip") || failed=1
done <"$binaries/manifest"
exit $failed
