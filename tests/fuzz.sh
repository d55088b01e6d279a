#!/bin/bash
# Runs each fuzz target of the module for a while: fuzz.sh TIME
set -euo pipefail
time=${1:?usage: fuzz.sh TIME}
grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func /:/' | sort |
	while IFS=: read -r file target; do
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$(dirname "$file")"
	done
