#!/bin/bash
# Runs the command of a suite for gotestsum (tests/suite.sh):
#
#   raw.sh COMMAND… [-test.run=REGEXP PACKAGE]
#
# The two last arguments are gotestsum's, of a test that it runs again; COMMAND
# takes the expression from RUN. Of such a run gotestsum reads nothing but JSON.
exec 2>&3
case ${*: -2:1} in
-test.run=*)
	export RUN=${*: -2:1}
	RUN=${RUN#-test.run=}
	"${@:1:$#-2}" | grep --line-buffered '^{'
	exit "${PIPESTATUS[0]}"
	;;
esac
exec "$@"
