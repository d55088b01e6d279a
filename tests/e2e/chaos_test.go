package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// harm is what can happen to a file or a folder.
type harm struct {
	name string
	do   func(path string) error
}

var harms = []harm{
	{"removed", os.RemoveAll},
	{"cut to a half", func(p string) error {
		st, err := os.Lstat(p)
		if err != nil || !st.Mode().IsRegular() {
			return cmp.Or(err, errNotThis)
		}
		return os.Truncate(p, st.Size()/2)
	}},
	{"emptied", onFile(func(p string) error { return os.Truncate(p, 0) })},
	{"garbage", onFile(func(p string) error {
		b := make([]byte, 5000)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		return os.WriteFile(p, b, 0o600)
	})},
	{"other JSON", onFile(func(p string) error {
		return os.WriteFile(p, []byte(`{"id":"../..","cgroup":"..","pid":1,"upper":"/"}`), 0o600)
	})},
	{"huge", onFile(func(p string) error { return errors.Join(os.Truncate(p, 0), os.Truncate(p, 1<<40)) })},
	{"a folder", instead(func(p string) error {
		return errors.Join(os.Mkdir(p, 0o700), os.WriteFile(filepath.Join(p, "in it"), nil, 0o600))
	})},
	{"a file", instead(func(p string) error { return os.WriteFile(p, []byte("?"), 0o600) })},
	{"a FIFO", instead(func(p string) error { return unix.Mkfifo(p, 0o600) })},
	{"a dangling link", instead(func(p string) error { return os.Symlink("/nowhere/at/all", p) })},
	{"a looping link", instead(func(p string) error { return os.Symlink(filepath.Base(p), p) })},
}

// errNotThis means that a harm is none to such a thing.
var errNotThis = errors.New("does not apply")

func onFile(do func(string) error) func(string) error {
	return func(p string) error {
		if st, err := os.Lstat(p); err != nil || !st.Mode().IsRegular() {
			return errNotThis
		}
		return do(p)
	}
}

func instead(do func(string) error) func(string) error {
	return func(p string) error {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
		return do(p)
	}
}

// things are the files and folders below the run and state folders, with
// those of nobody's data.
func (n *node) things() (out []string) {
	n.t.Helper()
	for _, root := range []string{n.run(""), n.path("state")} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // of a runner that has just gone
			}
			if err != nil {
				return err
			}
			if filepath.Clean(path) == filepath.Clean(root) {
				return nil
			}
			if strings.HasPrefix(strings.TrimPrefix(d.Name(), "."), "quarantine") {
				return fs.SkipDir
			}
			out = append(out, path)
			if base := d.Name(); d.IsDir() && (base == "upper" || base == "work") { // the site's own
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			n.t.Fatal(err)
		}
	}
	return out
}

// chaos is a node with a site on each tier.
type chaos struct {
	*node
	rand    *rand.Rand
	calm    *site // nothing of it is harmed
	calmPID int
	sites   []*site
	tiers   map[*site]api.Tier
	left    map[string]bool // kinds of things that were not harmed yet
}

// kindOf is a thing's path without numbers and names that change.
func (c *chaos) kindOf(path string) string {
	if dir, _, image := strings.Cut(path, "/dumped/images/"); image {
		return dir + "/dumped/images/*"
	}
	var words []string
	for word := range strings.SplitSeq(path, "/") {
		if name, number, ok := cutLastDash(word); ok && strings.Trim(number, "0123456789") == "" {
			word = name + "-N"
		}
		if strings.HasPrefix(word, "r-") {
			word = "CGROUP"
		}
		words = append(words, word)
	}
	return strings.Join(words, "/")
}

func cutLastDash(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// ready brings each site to its tier.
func (c *chaos) ready() {
	c.t.Helper()
	for s, tier := range c.tiers {
		if tier == api.TierCheckpointed && len(kinds(s.events(0), "not-restored", "checkpoint-dropped")) > 0 {
			if err := c.api.Delete(c.ctx(), s.name); err != nil { // it would stay off that tier for a while
				c.t.Fatal(err)
			}
			*s = *c.checkpointed(s.name)
		}
	}
	for s, tier := range c.tiers {
		if s.get().Tier != tier {
			c.outside.greet(s.addr4(80))
		}
	}
	for s, tier := range c.tiers {
		testutil.WaitFor(c.t, patience, s.name+" to be "+string(tier), func() error {
			if v := s.get(); v.Tier != tier || tier == api.TierRunning && (len(v.Replicas) != 1 || v.Replicas[0].PID == 0) {
				return fmt.Errorf("it is %s, %s; %q", v.Tier, v.Phase, s.story(0))
			}
			return nil
		})
	}
}

// harm harms some things, at most one of each folder, and says what was done.
func (c *chaos) harm(most int) (done []string) {
	c.t.Helper()
	things := c.things()
	c.rand.Shuffle(len(things), func(i, j int) { things[i], things[j] = things[j], things[i] })
	slices.SortStableFunc(things, func(a, b string) int { // what was never harmed first
		return -cmp.Compare(toInt(c.fresh(a)), toInt(c.fresh(b)))
	})
	harmed, records := map[string]bool{}, map[string]bool{}
	calm := filepath.Base(cgroupOf(c.t, c.calmPID))
	for _, path := range things {
		if len(done) == most {
			break
		}
		structure := path == c.run("replicas") || path == c.path("state/replicas") || path == c.run("libcontainer")
		both := strings.HasPrefix(filepath.Base(path), "state.db") && (harmed[c.path("state/state.db")] || harmed[c.path("state/state.db.copy")])
		if structure || both || strings.Contains(path, "/calm") || strings.Contains(path, calm) ||
			records[filepath.Dir(path)] || related(harmed, path) {
			continue
		}
		start := c.rand.IntN(len(harms))
		for i := range harms {
			h := harms[(start+i)%len(harms)]
			err := h.do(path)
			if errors.Is(err, errNotThis) || errors.Is(err, fs.ErrNotExist) { // a runner that waited may just have gone
				continue
			}
			if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) { // a mount point: not even root can
				break
			}
			if err != nil {
				c.t.Fatalf("%s: %s: %v", path, h.name, err)
			}
			harmed[path] = true
			if strings.HasPrefix(path, c.run("replicas/")) { // one of a record at a time, so that none hides another
				records[filepath.Dir(path)] = true
			}
			done = append(done, path+": "+h.name)
			break
		}
		c.left[c.kindOf(path)] = true
	}
	return done
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *chaos) fresh(path string) bool { return !c.left[c.kindOf(path)] }

// related says whether something above or below a path was harmed already.
func related(harmed map[string]bool, path string) bool {
	for h := range harmed {
		if strings.HasPrefix(h, path+"/") || strings.HasPrefix(path, h+"/") {
			return true
		}
	}
	return false
}

// pids are the processes of the sites' replicas that are awake or frozen.
func (c *chaos) pids() map[*site]int {
	c.t.Helper()
	out := map[*site]int{}
	for _, s := range append(c.sites, c.calm) {
		if rs := s.get().Replicas; len(rs) == 1 {
			out[s] = rs[0].PID
		}
	}
	return out
}

// TestRootLostRecords: replicas whose records are gone end, awake and frozen ones, and that is told; the others of the node go on.
func TestRootLostRecords(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	calm, awake, icy := n.deploy("calm"), n.deploy("awake"), n.deploy("icy", "idle: 1s", "tiers: [frozen]")
	n.outside.greet(calm.addr4(80))
	n.outside.greet(awake.addr4(80))
	icy.sleepOn("frozen")
	pid, mark := calm.pid(), n.mark()
	n.kill()
	for _, s := range []*site{awake, icy} {
		records, err := filepath.Glob(n.run("replicas/" + s.name + "-*"))
		if err != nil || len(records) != 1 {
			t.Fatalf("the records of %s: %q, %v", s.name, records, err)
		}
		if err := os.RemoveAll(records[0]); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	for _, s := range []*site{awake, icy} {
		if ev := s.await(mark, "quarantined"); !strings.Contains(ev.Reason, "its record is gone from "+n.run("")) {
			t.Errorf("of %s is told: %s", s.name, ev.Reason)
		}
		n.outside.greet(s.addr4(80))
	}
	if now := calm.pid(); now != pid {
		t.Errorf("process %d of a site that was not touched became %d", pid, now)
	}
	if told := kinds(calm.events(mark), "quarantined"); len(told) > 0 {
		t.Errorf("of that is told %q", told)
	}
	mark = n.mark()
	n.kill()
	n.start()
	if told := kinds(awake.events(mark), "quarantined"); len(told) > 0 {
		t.Errorf("after another restart is told %q", told)
	}
}

// TestRootDamagedFiles: whatever is below the run and state folders may be damaged while no daemon runs: the
// next one starts, sites of which nothing was touched go on with the processes that they have, and all others
// are served, too, and told of if their processes are others.
func TestRootDamagedFiles(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{})
	// Without the record of changed settings teardown cannot put them back, which docs/security.md says.
	t.Cleanup(func() { n.ns.Sysctl(t, "net/ipv4/conf/"+uplink+"/forwarding", "0") })
	c := &chaos{node: n, rand: rand.New(rand.NewPCG(11, 'b')), left: map[string]bool{}, tiers: map[*site]api.Tier{}}
	c.calm = n.deploy("calm")
	n.outside.greet(c.calm.addr4(80))
	add := func(s *site, tier api.Tier) {
		c.sites = append(c.sites, s)
		c.tiers[s] = tier
	}
	add(n.deploy("busy"), api.TierRunning)
	add(n.deploy("quick"), api.TierRunning)
	add(n.deploy("icy", "idle: 1s", "tiers: [frozen]"), api.TierFrozen)
	add(n.deploy("gated", "idle: 1s", "tiers: [prepared]"), api.TierPrepared)
	add(n.deploy("cold", "idle: 1s", "tiers: [cold]"), api.TierCold)
	if testutil.Has(t, "CRIU") {
		add(n.checkpointed("dumped"), api.TierCheckpointed)
	}
	pid := c.calm.pid()
	c.calmPID = pid
	rounds := few(7)
	for round := range rounds {
		c.ready()
		mark, before := n.mark(), c.pids()
		n.kill()
		harmed := c.harm(12)
		begin := time.Now()
		n.start()
		took := time.Since(begin)
		c.check(fmt.Sprintf("round %d, %q", round, harmed), mark, before, pid)
		t.Logf("round %d: ready after %v; %q", round, took, harmed)
		if t.Failed() {
			return
		}
	}
	c.wholeFolders()
}

// check looks at all sites after a start.
func (c *chaos) check(when string, mark uint64, before map[*site]int, calm int) {
	c.t.Helper()
	if now := c.calm.pid(); now != calm {
		c.t.Errorf("%s: process %d of a site that was not touched became %d; %q", when, calm, now, c.calm.story(0))
	}
	c.outside.greet(c.calm.addr4(80))
	for _, s := range c.sites {
		if _, err := c.outside.get(s.addr4(80), "/"); err != nil {
			c.t.Errorf("%s: %s: %v; %q", when, s.name, err, s.story(0))
			continue
		}
		c.local.greet(s.addr6(80))
		was, now := before[s], s.pid()
		if was == 0 || was == now || c.tiers[s] == api.TierPrepared {
			continue
		}
		// It may be told with a history that was damaged itself: then its number is below the mark.
		if told := kinds(s.events(0), "quarantined", "exited", "discarded"); len(told) == 0 {
			c.t.Errorf("%s: process %d of %s became %d, and nothing is told: %q", when, was, s.name, now, s.story(0))
		}
	}
	c.nothingLeft(when)
}

// nothingLeft compares what runs with what the node knows.
func (c *chaos) nothingLeft(when string) {
	c.t.Helper()
	testutil.WaitFor(c.t, patience, when+": one container per replica", func() error {
		sites, err := c.api.List(c.ctx())
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for i := range sites {
			for _, r := range sites[i].Replicas {
				if r.Tier != api.TierPrepared {
					known[fmt.Sprint(r.PID)] = true
				}
			}
		}
		groups, err := filepath.Glob("/sys/fs/cgroup/" + c.id + "/*/cgroup.procs")
		if err != nil {
			return err
		}
		for _, g := range groups {
			procs, _ := os.ReadFile(g) // it may just have gone
			for pid := range strings.FieldsSeq(string(procs)) {
				if isSite(pid) && !known[pid] {
					return fmt.Errorf("process %s in %s is no replica's", pid, g)
				}
			}
		}
		return nil
	})
}

// wholeFolders replaces the folders that everything is in, one after the other.
func (c *chaos) wholeFolders() {
	c.t.Helper()
	for i, path := range []string{c.run("replicas"), c.run("libcontainer"), c.path("state/images"), c.path("state/checkpoints"), c.path("state/events"), c.path("state/logs")} {
		c.ready()
		c.kill()
		h := harms[len(harms)-1-i%4] // none of which is a folder
		if err := h.do(path); err != nil {
			c.t.Fatal(err)
		}
		c.start()
		when := path + " is " + h.name
		for _, s := range append(c.sites, c.calm) {
			if _, err := c.outside.get(s.addr4(80), "/"); err != nil {
				c.t.Errorf("%s: %s: %v; %q", when, s.name, err, s.story(0))
			}
		}
		c.await(0, "quarantined")
		c.nothingLeft(when)
	}
}
