#!/bin/bash
# Builds fcnode-runner, the program of fcnode that is Go and C (libcontainer's nsenter and libseccomp):
#
#   runner.sh OUTPUT VERSION
#
# Static: it then runs on any Debian whatever its libc and libseccomp are, and each start
# is spared the dynamic loader.
set -euo pipefail
output=$1 version=$2
CGO_ENABLED=1 go build -trimpath -tags 'seccomp netgo osusergo' \
	-ldflags "-s -w -linkmode external -extldflags -static -X main.version=$version" \
	-o "$output" ./cmd/fcnode-runner
