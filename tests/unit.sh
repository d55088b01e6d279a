#!/bin/bash
# Runs the unit tests of all modules and prints what `go test -json` does. RUN chooses some.
set -uo pipefail
gateway=(-C cmd/fcnode-gateway -json ${RUN:+-run "$RUN"})
status=0
run() { # COMMAND…
	"$@"
	local code=$?
	status=$((code > status ? code : status))
}
# The race detector makes a test five to fifteen times as long, so it watches the packages whose code or tests run something beside
# something else; what they import is watched there, too. The others are built as the programs are (make build).
# Packages whose tests are all privileged (tests/e2e) are only compiled. Vet is lint's.
together=() alone=()
while read -r package folder; do
	if grep -qP '^func (Test(?!Root|Main\()|Fuzz|Example)' "$folder"/*_test.go &&
		grep -qE '(^|[^[:alnum:]_])go (func\(|[[:alnum:]_.]+\()|\.Go\(|AfterFunc\(|\.Parallel\(\)|\.Serve\(|httptest' "$folder"/*.go; then
		together+=("$package")
	else
		alone+=("$package")
	fi
done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' ./... | grep .)
run go test -json -race -vet=off -tags seccomp ${RUN:+-run "$RUN"} "${together[@]}"
run env CGO_ENABLED=0 go test -json -trimpath -vet=off ${RUN:+-run "$RUN"} "${alone[@]}"
run go test "${gateway[@]}" -race ./internal/conf ./internal/routes
# These with what make build has compiled: Caddy anew for the race detector, and once more for vet (which lint runs), would take minutes.
run env CGO_ENABLED=0 go test "${gateway[@]}" -trimpath -vet=off ./internal/front
run env CGO_ENABLED=0 go test -C tests/traefik -json ${RUN:+-run "$RUN"} -trimpath -vet=off .
exit $status
