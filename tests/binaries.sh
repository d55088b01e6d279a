#!/bin/bash
# Builds the test binaries of all packages that have privileged tests, for this machine and the rig:
#
#   binaries.sh FOLDER
#
# They are static, so that they run on any Debian. FOLDER/manifest gets a line for each: import path, binary, package folder.
# The rig's guest is built beside them.
set -euo pipefail
out=${1:?usage: binaries.sh FOLDER}
mkdir -p "$out"
module=$(go list -m)
# tests_of: folders with a privileged test, in a fixed order.
mapfile -t dirs < <(grep -rl --include='*_test.go' '^func TestRoot' . | xargs -r dirname | sort -u | sed 's#^\./##')
[ ${#dirs[@]} -gt 0 ] || {
	echo "binaries.sh: no package has a privileged test" >&2
	exit 1
}
: >"$out/manifest.new"
for dir in "${dirs[@]}"; do
	name=$(echo "$dir" | tr / _).test
	CGO_ENABLED=0 go test -c -trimpath -o "$out/$name" "./$dir"
	echo "$module/$dir $name $dir" >>"$out/manifest.new"
done
CGO_ENABLED=0 go build -trimpath -o "$out/guest" ./tests/vm/guest
mv "$out/manifest.new" "$out/manifest"
