package main

import "github.com/fcnode/fcnode/tests/vm/left"

// leftBy is what a run leaves, if anything: with -run it runs whatever that matches, and a machine of KVM runs all.
func leftBy(o options, a accel) (left.Left, bool) {
	if o.bench != "" || o.run != left.All || !a.emulated {
		return left.Left{}, false
	}
	return left.On(o.release), true
}
