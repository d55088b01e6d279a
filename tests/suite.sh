#!/bin/bash
# Runs a suite of tests, shows it, and judges it:
#
#   suite.sh NAME COMMAND…
#
# COMMAND prints what `go test -json` would of the tests that RUN chooses, or of all; it exits with 1 when a test failed and with more when it could not run them.
# What it printed stays in $RESULTS/NAME.json.
#
# When all were run and a few failed, those are run once more, by themselves (tests/again says why, and when not): what passes then was held
# up by its company, which is told by name; what fails then has failed. Nobody who chose tests by RUN is answered a second time.
set -euo pipefail
name=$1
shift
tests=${BIN:?}/tests results=${RESULTS:?}
read -ra flags <<<"${GOTESTSUM_FLAGS:-}"

run() { # NAME COMMAND…
	"$tests/gotestsum" "${flags[@]}" --ignore-non-json-output-lines --jsonfile "$results/$1.json" --raw-command -- "${@:2}"
}

judged=("$results/$name.json")
# Unit tests leave what is privileged, and what takes long under the race detector.
judge=("$tests/skips")
[ "$name" != unit ] || judge=(true) flags+=(--hide-summary skipped)
status=0
run "$name" "$@" || status=$?
if [ $status -eq 1 ] && [ -z "${RUN:-}" ] && again=$("$tests/again" "$results/$name.json"); then
	echo "=== again, by themselves: $again"
	status=0
	RUN=$again run "$name-again" "$@" || status=$?
	[ $status -ne 0 ] || echo "FAILED IN COMPANY, PASSED ALONE on $name: $again"
	judged+=("$results/$name-again.json")
fi
"${judge[@]}" "${judged[@]}"
exit $status
