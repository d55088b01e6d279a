#!/bin/bash
# Runs a suite of tests, shows it, and judges it:
#
#   suite.sh NAME COMMAND…
#
# COMMAND prints what `go test -json` would print of the tests that RUN
# chooses, or of all. It exits with 1 when a test failed and with more when it
# could not run them. What it printed stays in $RESULTS/NAME.json.
#
# Up to three tests that failed run once more, each by itself: on a machine that
# stands still for seconds, one of hundreds of tests may miss the event that it
# waits for, and such a failure says nothing about the change that is tested.
# What passes then is reported by name; what fails then has failed. Nothing
# runs again after a crash or a data race, or where RUN chose the tests. A
# package that failed though none of its tests did (a leak) has failed.
set -euo pipefail
name=$1
shift
tests=${BIN:?}/tests results=${RESULTS:?}
report=$results/$name.again
read -ra flags <<<"${GOTESTSUM_FLAGS:-}"
[ -n "${RUN:-}" ] || flags+=(
	--rerun-fails=1 --rerun-fails-max-failures=3 --rerun-fails-run-root-test --rerun-fails-abort-on-data-race
	--rerun-fails-report "$report"
)
judge=("$tests/skips")
# Unit tests skip what needs privileges, and what is slow under the race detector.
[ "$name" != unit ] || judge+=(-any) flags+=(--hide-summary skipped)

rm -f "$report"
status=0
# The command's messages pass gotestsum by: it would report each of their lines as an error.
"$tests/gotestsum" "${flags[@]}" --ignore-non-json-output-lines --jsonfile "$results/$name.json" \
	--raw-command -- "$(dirname "$0")/raw.sh" "$@" 3>&2 || status=$?
if [ $status -eq 0 ] && [ -s "$report" ]; then
	echo "FAILED IN COMPANY, PASSED ALONE on $name:"
	cat "$report"
fi
"${judge[@]}" "$results/$name.json"
exit $status
