#!/bin/bash
# Runs the unit tests of both modules and prints what `go test -json` does. RUN chooses some.
set -uo pipefail
gateway=(-C cmd/fcnode-gateway -json ${RUN:+-run "$RUN"})
status=0
run() { # COMMAND…
	"$@"
	local code=$?
	status=$((code > status ? code : status))
}
run go test -json -race -tags seccomp ${RUN:+-run "$RUN"} ./...
run go test "${gateway[@]}" -race ./internal/conf ./internal/routes
# These with what make build has compiled: Caddy anew for the race detector, and once more for vet (which lint runs), would take minutes.
run env CGO_ENABLED=0 go test "${gateway[@]}" -trimpath -vet=off ./internal/front
exit $status
