#!/bin/bash
# Runs each fuzz target of the module for a while: fuzz.sh TIME
set -euo pipefail
time=${1:?usage: fuzz.sh TIME}
grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func /:/' | sort |
	while IFS=: read -r file target; do
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$(dirname "$file")"
	done
# Not by go test -fuzz, whose workers are not in the sandbox of privileged tests.
if [ "$(id -u)" = 0 ]; then
	FCNODE_ROOT_TESTS=1 FUZZTIME=$time CGO_ENABLED=0 go test -run '^TestRootPacketsAreReadAsTheModelDoes$' -v -timeout 0 ./bpf
fi
