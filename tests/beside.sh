#!/bin/bash
# Runs a command beside another, and shows what it printed when both have ended:
#
#   beside.sh 'COMMAND BESIDE' COMMAND…
#
# The one beside gives way to the other, which is watched by people, where both want the same processor. Fails when one of them does.
set -uo pipefail
log=$(mktemp)
trap 'kill $(jobs -p) 2>/dev/null; rm -f "$log"' EXIT
nice -n 5 bash -c "$1" >"$log" 2>&1 &
shift
status=0
"$@" || status=$?
wait $! || status=$?
cat "$log"
exit $status
