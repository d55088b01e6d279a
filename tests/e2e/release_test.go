package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// releases is a folder of an application's releases, as tools that deploy by a symbolic link have it.
type releases struct {
	t   *testing.T
	dir string
}

// make makes a release, and leads the link there in one step.
func (r releases) deploy(name string) {
	r.t.Helper()
	release, next := filepath.Join(r.dir, "releases", name), filepath.Join(r.dir, "next")
	err := errors.Join(os.MkdirAll(release, 0o755), os.WriteFile(filepath.Join(release, "name"), []byte(name), 0o644), //nolint:gosec // sites read it
		os.Symlink(release, next), os.Rename(next, filepath.Join(r.dir, "current")))
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestRootDeployByLink: whatever a site sleeps on, its first visitor after a deployment gets the new release, and the events say why; also when
// the daemon was killed in between. A site that serves goes on until it is circulated.
func TestRootDeployByLink(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	n.configure(options{more: fmt.Sprintf("volumeRoots: [%s]", n.dir)})
	n.start()
	app := releases{t, n.path("app")}
	app.deploy("1")
	volumes := "volumes: [{source: " + app.dir + "/current, target: /app, follow: true}]"
	type tier struct {
		api.Tier
		event string // that tells of the one that sleeps with the old release
	}
	tiers := []tier{{api.TierFrozen, "outdated"}, {api.TierPrepared, "outdated"}}
	if _, err := criu.Find(t.Context(), ""); err == nil {
		tiers = append(tiers, tier{api.TierCheckpointed, "checkpoint-dropped"})
	} else if !errors.Is(err, criu.ErrUnavailable) {
		t.Fatal(err)
	}
	sites := make([]*site, len(tiers))
	for i, on := range tiers {
		sites[i] = n.deploy(string(on.Tier), "idle: 1s", "tiers: ["+string(on.Tier)+"]", "checkpoint: {warm: 1}", volumes)
	}
	awake := n.deploy("awake", "idle: never", volumes)
	if got := awake.pull("/app/name"); got != "1" {
		t.Fatalf("it serves release %q", got)
	}
	// visit visits them all, and waits until they sleep again.
	visit := func(release string, told int) {
		t.Helper()
		for i, s := range sites {
			if got := s.pull("/app/name"); got != release {
				t.Errorf("%s: release %q is served, and %q is deployed", s.name, got, release)
			}
			if got := kinds(s.events(0), tiers[i].event); len(got) != told {
				t.Errorf("%s: %q are told, want %d: %q", s.name, got, told, s.story(0))
			}
		}
		for i, s := range sites {
			s.awaitTier(tiers[i].Tier)
		}
	}
	visit("1", 0) // from cold
	visit("1", 0) // and from where they sleep
	app.deploy("2")
	visit("2", 1)
	if len(tiers) == 3 { // of a checkpoint that lacks its writable layer the next daemon makes nothing
		testutil.WaitFor(t, patience, "the checkpoint to be whole", func() error {
			_, err := os.Stat(n.path(filepath.Join("state/checkpoints", string(api.TierCheckpointed), criu.UpperDir)))
			return err
		})
	}
	n.kill() // the next daemon knows what those that it finds have mounted
	n.start()
	for i, s := range sites {
		s.awaitTier(tiers[i].Tier)
	}
	app.deploy("3")
	visit("3", 2)

	if got := awake.pull("/app/name"); got != "1" {
		t.Errorf("awake: it serves release %q, and nobody has circulated it", got)
	}
	mark := n.mark()
	awake.circulate()
	awake.await(mark, "draining")
	if got := awake.pull("/app/name"); got != "3" {
		t.Errorf("circulated: it serves release %q", got)
	}
}
