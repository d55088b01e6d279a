package main

import "testing"

func TestLeftBy(t *testing.T) {
	emulated := accel{emulated: true}
	o := options{run: allTests, release: "trixie"}
	if len(leftBy(o, emulated)) == 0 {
		t.Error("an emulated machine leaves nothing")
	}
	if l := leftBy(o, accel{}); l != nil {
		t.Errorf("a machine of KVM leaves %v", l)
	}
	o.run = "TestRootDryRun"
	if l := leftBy(o, emulated); l != nil {
		t.Errorf("-run leaves %v", l)
	}
}
