package e2e

import (
	"fmt"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootStartsTakeTurns: many sites that are woken in the same instant start one after the other, and each visitor
// is answered; one that never listens does not keep the others waiting, and its time to start counts from its turn.
func TestRootStartsTakeTurns(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "start: {parallel: 1}"})
	count := few(12)
	all := []*site{n.deploy("deaf", "env: {GUEST: deaf}", "start: {timeout: 4s}")}
	for i := range count {
		all = append(all, n.deploy(fmt.Sprintf("turn-%d", i)))
	}
	deaf := later(func() error {
		_, err := n.outside.get(all[0].addr4(80), "/")
		return err
	})
	all[0].await(0, "waking")
	err := visit(count, func(i int) error {
		_, err := []*client{n.outside, n.local}[i%2].get(all[i+1].addr4(80), "/")
		return err
	})
	if err != nil {
		t.Errorf("somebody was not answered:\n%v", err)
	}
	if err := testutil.Receive(t, patience, "the visitor of the site that does not listen", deaf); err == nil {
		t.Error("nobody listens, and somebody has answered")
	}
	for _, s := range all[1:] {
		if got := s.starts(0); got != 1 {
			t.Errorf("%s: %d starts: %q", s.name, got, s.story(0))
		}
	}
}
