package main

import (
	"testing"

	"github.com/fcnode/fcnode/tests/vm/left"
)

func TestLeftBy(t *testing.T) {
	emulated := accel{emulated: true}
	o := options{run: left.All, release: "trixie"}
	if _, leaves := leftBy(o, emulated); !leaves {
		t.Error("an emulated machine leaves nothing")
	}
	if _, leaves := leftBy(o, accel{}); leaves {
		t.Error("a machine of KVM leaves tests")
	}
	o.run = "TestRootDryRun"
	if _, leaves := leftBy(o, emulated); leaves {
		t.Error("-run leaves tests")
	}
}
