#!/bin/bash
# Builds fcnode-monitor, the small C program that stands beside each container:
#
#   monitor.sh OUTPUT
#
# Static: there is one for each container, and neither a dynamic loader nor the pages of one are worth having for it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
hardening=()
[ "$(uname -m)" != x86_64 ] || hardening=(-fcf-protection)
"${CC:-gcc}" -std=gnu11 -O2 -Wall -Wextra -Wshadow -Werror \
	-fstack-protector-strong -D_FORTIFY_SOURCE=2 -fstack-clash-protection "${hardening[@]}" \
	-static-pie -fPIE -ffunction-sections -fdata-sections -Wl,-z,relro,-z,now,-z,noexecstack,--gc-sections -s \
	-o "$1" "$here"/../runtime/container/monitor/src/*.c
