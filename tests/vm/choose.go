package main

import "github.com/fcnode/fcnode/tests/vm/left"

// leftBy is what a run leaves: with -run it runs whatever that matches, and a machine of KVM runs all.
func leftBy(o options, a accel) []left.Tests {
	if o.bench != "" || o.run != allTests || !a.emulated {
		return nil
	}
	return left.On(o.release)
}
