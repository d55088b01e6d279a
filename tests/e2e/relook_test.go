package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// slowCRIU is CRIU behind a gate. The daemon finds it when open is called.
func slowCRIU(t *testing.T) (path string, open func()) {
	t.Helper()
	tool, err := criu.Find(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, gate, opened := dir+"/criu", dir+"/gate", dir+"/opened"
	script := fmt.Sprintf("#!/bin/sh\n[ -e %s ] || read -r word <%s\nexec %s \"$@\"\n", opened, gate, tool.Path)
	if err := errors.Join(os.WriteFile(path, []byte(script), 0o755), unix.Mkfifo(gate, 0o600)); err != nil {
		t.Fatal(err)
	}
	// Held for reading too, so that nobody has to stand at the gate when it is opened: who comes later finds it open.
	f, err := os.OpenFile(gate, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, func() {
		_, err := f.WriteString(strings.Repeat("open\n", 100))
		if err := errors.Join(os.WriteFile(opened, nil, 0o600), err); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRootIdleBeforeCRIUIsFound: a site whose time has come while the daemon still looks for
// CRIU waits for it on its way; it does not go cold.
func TestRootIdleBeforeCRIUIsFound(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	path, open := slowCRIU(t)
	n := newNode(t, options{more: fmt.Sprintf("checkpoints: {criu: %s}\n", path)})
	s := n.deploy("early", "idle: 1s", "tiers: [checkpointed]", "checkpoint: {warm: 1}")
	mark := n.mark()
	n.outside.greet(s.addr4(80))
	s.awaitPhase(api.PhaseParking)
	open()
	s.await(mark, "checkpointed")
	if cold := kinds(s.events(mark), "parked", "not-checkpointed"); len(cold) > 0 {
		t.Errorf("it went cold: %q", s.story(mark))
	}
}

// TestRootNoCRIUAfterAll: when the looking has ended and there is none, the site takes the next
// rung, and nothing is held against the tier.
func TestRootNoCRIUAfterAll(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{more: "checkpoints: {criu: /nowhere/criu}\n"})
	s := n.deploy("without", "idle: 1s", "tiers: [checkpointed]", "checkpoint: {warm: 1}")
	n.outside.greet(s.addr4(80))
	s.awaitPhase(api.PhaseParked)
	checkUnused(t, s, api.TierCheckpointed, "/nowhere/criu")
}

// TestRootNewLadderActsAtOnce: a replica that waits for its next rung waits by the ladder as it
// is now, not as it was when it began to.
func TestRootNewLadderActsAtOnce(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("slow", "idle: 1h", "tiers: [frozen]")
	n.outside.greet(s.addr4(80))
	mark := n.mark()
	n.apply(n.spec("slow", "idle: 1s", "tiers: [frozen]"))
	s.await(mark, "frozen")
	n.apply(n.spec("slow", "idle: 1s", "tiers: [frozen, {tier: cold, after: 2s}]")) // there was no deeper rung
	s.await(mark, "parked")
}
