#!/bin/sh
# What crowdsec-custom-bouncer calls for each decision:
#
#   fcnode-bouncer.sh add|del VALUE DURATION REASON JSON
#
# In /etc/crowdsec/bouncers/crowdsec-custom-bouncer.yaml:
#
#   bin_path: /usr/local/share/doc/fcnode/crowdsec/fcnode-bouncer.sh
#   scopes: [Ip, Range]
#
# A decision ends by itself, also when the bouncer does not run any more.
set -eu
case ${1-} in
add) exec fcnode deny add "$2" --for "$3" ;;
del) exec fcnode deny remove "$2" ;;
esac
echo "usage: $0 add|del VALUE DURATION REASON JSON" >&2
exit 2
