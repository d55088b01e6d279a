#!/bin/bash
# Builds the test binaries of all packages that have privileged tests, for this machine and the rig:
#
#   binaries.sh FOLDER PROGRAMS
#
# They are static, so that they run on any Debian. FOLDER/manifest gets a line for each: import path, binary, package folder.
# The rig itself is built beside them, and what runs them and judges the run (tests/suite.sh), so that a machine without Go can (make test-root
# BUILT=1). Programs that tests start, PACKAGE/testdata/NAME/main.go (some are modules of their own), go to
# PROGRAMS/PACKAGE-NAME, beside fcnode's own (by the last part of the package's path).
set -euo pipefail
out=${1:?usage: binaries.sh FOLDER PROGRAMS} programs=${2:?usage: binaries.sh FOLDER PROGRAMS}
mkdir -p "$out" "$programs"
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
	CGO_ENABLED=0 go test -c -trimpath -ldflags '-s -w' -o "$out/$name" "./$dir"
	echo "$module/$dir $name $dir" >>"$out/manifest.new"
	for main in "$dir"/testdata/*/main.go; do
		[ -e "$main" ] || continue
		helper=$(dirname "$main")
		CGO_ENABLED=0 go build -C "$helper" -trimpath -ldflags '-s -w' -o "$(realpath "$programs")/$(basename "$dir")-$(basename "$helper")" .
	done
done
# The rig's two halves, and what tests/root.sh and the Makefile run.
export CGO_ENABLED=0
go build -trimpath -o "$out/guest" ./tests/vm/guest
go build -trimpath -o "$out/" ./tests/vm ./tests/leave ./tests/skips
go build -trimpath -ldflags '-s -w' -o "$out/test2json" cmd/test2json
go build -trimpath -ldflags '-s -w' -modfile=tests/tools/go.mod -o "$out/gotestsum" gotest.tools/gotestsum
mv "$out/manifest.new" "$out/manifest"
