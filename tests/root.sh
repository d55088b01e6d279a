#!/bin/bash
# Runs the privileged tests of the binaries made by binaries.sh on this kernel, one package after the other, and
# prints what `go test -json` would:
#
#   root.sh FOLDER PROGRAMS
#
# RUN chooses tests by a regular expression, as go test -run does.
# Tests that run side by side mostly wait for each other, so there are more of them at a time than processors.
set -uo pipefail
binaries=$(cd "$1" && pwd) programs=$2
failed=0
while read -r package name dir; do
	(cd "$dir" && FCNODE_ROOT_TESTS=1 FCNODE_BIN_DIR=$programs \
		go tool test2json -t -p "$package" "$binaries/$name" -test.v=test2json -test.timeout=20m -test.parallel=4 -test.run="${RUN:-^TestRoot}") || failed=1
done <"$binaries/manifest"
exit $failed
