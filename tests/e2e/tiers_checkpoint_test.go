package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// needCRIU skips where the machine cannot checkpoint.
func needCRIU(t *testing.T) {
	t.Helper()
	testutil.Privileged(t)
	if _, err := criu.Find(t.Context(), ""); errors.Is(err, criu.ErrUnavailable) {
		t.Skip(testutil.SkipMarker, err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// put writes a file into the site's writable layer, and pull reads it.
func (s *site) put(path, text string) {
	s.n.t.Helper()
	if _, err := s.n.outside.ask("POST", s.addr4(80), "/file?path="+path, strings.NewReader(text)); err != nil {
		s.n.t.Fatal(err)
	}
}

func (s *site) pull(path string) string {
	s.n.t.Helper()
	return s.n.outside.mustGet(s.addr4(80), "/file?path="+path).body
}

// checkpointed deploys a site that is checkpointed soon.
func (n *node) checkpointed(name string, more ...string) *site {
	n.t.Helper()
	return n.deploy(name, append([]string{"idle: 1s", "tiers: [checkpointed]", "checkpoint: {warm: 1}"}, more...)...)
}

// TestRootAgeOutlivesCheckpoints: the processes of a site that is restored, again and again, are as old as those that were dumped.
func TestRootAgeOutlivesCheckpoints(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.checkpointed("old", "lifetime: auto")
	n.outside.greet(s.addr4(80))
	age := func(when string) time.Time {
		t.Helper()
		c := s.get().Circulation
		if c == nil {
			t.Fatalf("%s it does not age: %+v", when, s.get())
		}
		return c.Born.Truncate(time.Second) // as a container's labels have it
	}
	born := age("awake")
	for range 2 {
		s.awaitTier(api.TierCheckpointed)
		if got := age("asleep"); !got.Equal(born) {
			t.Errorf("its image was started at %v, and it at %v", got, born)
		}
		mark := n.mark()
		n.outside.greet(s.addr4(80))
		checkRestore(t, s, mark)
		if got := age("restored"); !got.Equal(born) {
			t.Errorf("restored it was started at %v, and at first at %v", got, born)
		}
	}
}

func TestRootCheckpointedSiteIsRestored(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.checkpointed("dumped")
		n.outside.greet(s.addr4(80))
		s.put("/kept", "of the first life")
		s.await(0, "checkpointed")
		for i, c := range []*client{n.outside, n.local} {
			for _, to := range []netip.AddrPort{s.addr4(80), s.addr6(80)} {
				s.awaitTier(api.TierCheckpointed)
				if v := s.get(); len(v.Replicas) != 0 {
					t.Errorf("client %d: it sleeps with %+v", i, v.Replicas)
				}
				mark := n.mark()
				c.greet(to)
				checkRestore(t, s, mark)
				c.transfer(to, 1<<20)
				if got := s.pull("/kept"); got != "of the first life" {
					t.Errorf("its file is %q", got)
				}
				s.await(mark, "checkpointed")
			}
		}
		s.awaitTier(api.TierCheckpointed)
		mark := n.mark()
		s.wake() // by hand: nobody is held, and the story ends when it listens
		if ev := s.await(mark, "woken"); !strings.HasPrefix(ev.Reason, api.StepListening) {
			t.Errorf("woken by hand: %q", ev.Reason)
		}
	})
}

func checkRestore(t *testing.T, s *site, mark uint64) {
	t.Helper()
	tr := s.lastWake(mark)
	t.Logf("%+v", tr.Steps)
	if tr.Result != api.ResultOK || tr.From != api.TierCheckpointed {
		t.Errorf("trace: %s from %s, steps %+v; %q", tr.Result, tr.From, tr.Steps, s.story(mark))
	}
}

// TestRootNotWarmIsNotCheckpointed: what has not answered yet is not worth an image.
func TestRootNotWarmIsNotCheckpointed(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("cool", "idle: 1s", "tiers: [checkpointed, {tier: cold, after: 2s}]", "checkpoint: {warm: 2}")
	mark := n.mark()
	s.sleepOn("not-checkpointed")
	s.await(mark, "parked")
	mark = n.mark()
	visitor := n.outside.keep(s.addr4(80)) // so that both answers are the same replica's
	for range 2 {
		if err := visitor.ask(); err != nil {
			t.Fatal(err)
		}
	}
	visitor.conn.Close()
	s.await(mark, "checkpointed")
}

// TestRootVisitorsInEachStepOfDumping: whoever comes at any moment of a dump is answered.
func TestRootVisitorsInEachStepOfDumping(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.checkpointed("restless")
	rounds := few(24)
	apart := testutil.Timeout(400*time.Millisecond) / time.Duration(rounds) // a dump and the end take 150 to 250 ms
	mark := n.mark()
	var last uint64
	for round := range rounds {
		n.outside.greet(s.addr4(80))
		s.awaitEnd()
		if round < rounds-1 {
			<-time.After(time.Duration(round) * apart) // which moment it is, is what is tested
		} else {
			s.awaitTier(api.TierCheckpointed) // one comes after the dump, however slow the machine is
			last = n.mark()
		}
		c, to := []*client{n.outside, n.local}[round%2], []netip.AddrPort{s.addr4(80), s.addr6(80)}[round/2%2]
		if _, err := c.get(to, "/"); err != nil {
			t.Errorf("%s client, %v after it began to sink: %v", c.name, time.Duration(round)*apart, err)
		}
	}
	ev := s.events(mark)
	if got := kinds(ev, "failed", "exited", "not-restored", "not-checkpointed"); len(got) > 0 {
		t.Errorf("%q", s.story(mark))
	}
	restored := 0
	traces, err := n.api.Traces(n.ctx(), s.name, 3*rounds)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range traces {
		if tr.From == api.TierCheckpointed {
			restored++
		}
	}
	t.Logf("%d of %d visitors came after the dump", restored, rounds)
	if tr := s.lastWake(last); tr.From != api.TierCheckpointed {
		t.Errorf("who came after the dump was not answered by its image, but from %s: %q", tr.From, s.story(last))
	}
	n.checkReplicas(s)
}

// TestRootDamagedCheckpointStartsCold: any doubt about an image, and the visitor gets a cold start.
func TestRootDamagedCheckpointStartsCold(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.checkpointed("doubtful")
	for what, damage := range map[string]func(dir string) error{
		"a byte of the image": func(dir string) error {
			pages, err := filepath.Glob(filepath.Join(dir, "images", "pages-*"))
			if err != nil || len(pages) == 0 {
				return fmt.Errorf("no pages in %s: %w", dir, err)
			}
			f, err := os.OpenFile(pages[0], os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("doubt"), 5000)
			return errors.Join(err, f.Close())
		},
		"the manifest": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{"), 0o600)
		},
		"all": os.RemoveAll,
	} {
		s.awaitCheckpoint()
		image, mark := n.path("state/checkpoints/doubtful"), n.mark()
		testutil.WaitFor(t, patience, "the image to be complete", func() error {
			_, err := os.Stat(filepath.Join(image, criu.UpperDir))
			return err
		})
		if err := damage(image); err != nil {
			t.Fatal(err)
		}
		if _, err := n.outside.get(s.addr4(80), "/"); err != nil {
			t.Errorf("%s is damaged: %v; %q", what, err, s.story(mark))
		}
		// Dropped, if the node had not seen yet that it is complete.
		if ev := s.await(mark, "not-restored", "checkpoint-dropped"); ev.Reason == "" {
			t.Errorf("%s is damaged: the event has no reason", what)
		} else {
			t.Log(ev.Reason)
		}
		if got := s.starts(mark); got != 1 {
			t.Errorf("%s is damaged: %d starts: %q", what, got, s.story(mark))
		}
		// The tier is given up for a while; a new spec is another chance.
		if err := n.api.Delete(n.ctx(), s.name); err != nil {
			t.Fatal(err)
		}
		s = n.checkpointed("doubtful")
	}
}

// awaitCheckpoint visits the site and waits until it is checkpointed.
func (s *site) awaitCheckpoint() {
	s.n.t.Helper()
	s.sleepOn("checkpointed")
	s.awaitTier(api.TierCheckpointed)
}

// TestRootCheckpointIsDroppedWhenItsSiteChanges: on a new spec, on circulation, with the site.
func TestRootCheckpointIsDroppedWhenItsSiteChanges(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.checkpointed("changing")
	s.awaitCheckpoint()
	mark := n.mark()
	n.checkpointed("changing", "hostname: another")
	s.await(mark, "checkpoint-dropped")
	if host := n.outside.greet(s.addr4(80)); host != "another" {
		t.Errorf("its host name is %q", host)
	}
	s.awaitCheckpoint()
	if err := n.api.Delete(n.ctx(), "changing"); err != nil {
		t.Fatal(err)
	}
	n.awaitImages()
	s = n.checkpointed("changing")
	n.outside.greet(s.addr4(80))
}

// TestRootKilledWhileSuspending: at whatever moment of a descent the daemon dies, the site's visitors are answered, and
// its processes never run beside their image.
func TestRootKilledWhileSuspending(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("dying", "idle: 1s", "tiers: [{tier: frozen, after: 1s}, {tier: checkpointed, after: 2s}]", "checkpoint: {warm: 1}")
	rounds := few(12)
	for round := range rounds {
		n.outside.greet(s.addr4(80))
		// from before it is frozen to after its processes have ended
		<-time.After(950*time.Millisecond + // which moment it is, is what is tested
			testutil.Timeout(1300*time.Millisecond)*time.Duration(round)/time.Duration(rounds))
		n.kill()
		early := later(func() error {
			_, err := n.local.get(s.addr6(80), "/")
			return err
		})
		n.start()
		if err := testutil.Receive(t, patience, "the visitor who came while no daemon ran", early); err != nil {
			t.Errorf("round %d: %v; %q", round, err, s.story(0))
		}
		visitor := n.outside.keep(s.addr4(80)) // under whom it does not sleep again
		if err := visitor.ask(); err != nil {
			t.Errorf("round %d: %v; %q", round, err, s.story(0))
		}
		n.checkReplicas(s)
		if images, err := criu.List(n.path("state/checkpoints")); err != nil || len(images) > 0 {
			t.Errorf("round %d: it runs, and there is %q (%v)", round, images, err)
		}
		n.awaitImages()
		visitor.conn.Close()
	}
}

// awaitImages waits until there are these images on disk, and nothing else of any. What somebody still reads is looked at again after a minute.
func (n *node) awaitImages(want ...string) {
	n.t.Helper()
	testutil.WaitFor(n.t, 6*patience, "no other images than wanted to be on disk", func() error {
		paths, err := filepath.Glob(n.path("state/checkpoints/*"))
		var left []string
		for _, path := range paths {
			left = append(left, filepath.Base(path))
		}
		if err == nil && !slices.Equal(left, want) {
			err = fmt.Errorf("on disk are %q, want %q", left, want)
		}
		return err
	})
}

// TestRootCheckpointsAreBounded: where one image more takes more disk than they may have the oldest goes, and its site
// starts cold.
func TestRootCheckpointsAreBounded(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{})
	first := n.checkpointed("first")
	first.awaitCheckpoint()
	one := n.diskOf(first)
	n.stop()
	b, err := os.ReadFile(n.path("fcnode.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	n.write("fcnode.yaml", strings.Replace(string(b), "checkpoints: {", fmt.Sprintf("checkpoints: {disk: %dB, ", one*5/2), 1)) // two have room
	n.start()
	first.awaitTier(api.TierCheckpointed)
	mark := n.mark()
	var later []*site
	for _, name := range []string{"second", "third"} {
		s := n.checkpointed(name)
		s.awaitCheckpoint()
		later = append(later, s)
	}
	if ev := first.await(mark, "checkpoint-dropped"); !strings.Contains(ev.Reason, "room") {
		t.Errorf("it was dropped because %q", ev.Reason)
	}
	first.awaitTier(api.TierCold)
	for _, s := range append(later, first) {
		n.outside.greet(s.addr4(80))
	}
}

// diskOf is what the files of a site's image have.
func (n *node) diskOf(s *site) (bytes int64) {
	n.t.Helper()
	m, err := criu.Read(n.path("state/checkpoints/" + s.name))
	if err != nil {
		n.t.Fatal(err)
	}
	return m.Bytes
}
