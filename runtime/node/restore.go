package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/store"
)

// restore brings memory, the data path and the running containers together
// after a start, whatever the last daemon was doing when it ended:
//
//   - the sites on disk are the truth: listeners in the data path are added and
//     taken away to match them;
//   - containers of these sites are adopted with their connections; all others
//     are stopped;
//   - what the data path knows of replicas that are gone is forgotten.
func (n *Node) restore() error {
	if err := n.loadSites(); err != nil {
		return err
	}
	n.findCheckpoints()
	if err := n.syncListeners(); err != nil {
		return err
	}
	known, err := n.dp.Replicas()
	if err != nil {
		return err
	}
	containers, bad, err := n.containers.Adopt(n.ctx)
	if err != nil {
		return err
	}
	for _, q := range bad {
		n.quarantineReplica(q)
	}
	n.sweepLeft() // now that dumps which were under way are over
	n.sweepLayers(containers)
	sites, err := n.dp.Sites()
	if err != nil {
		return err
	}
	adopted := map[bpf.ReplicaID]bool{}
	for _, c := range containers {
		if st, ended := c.Exit(); ended {
			n.bury(c, st)
			continue
		}
		id, err := n.adopt(c, known, sites)
		if err != nil {
			n.log.Warn("a container was found that cannot be adopted; stopping it", "container", c.ID(), "error", err)
			n.discard(c, err)
			continue
		}
		adopted[bpf.ReplicaID(id)] = true
	}
	n.allAdopted()
	if err := errors.Join(n.syncReplicas(known, adopted), n.dp.ClearHolds()); err != nil {
		n.log.Error("the data path still knows something of earlier replicas", "error", err)
	}
	return nil
}

// sweepLayers removes the writable layers of replicas that are gone: of those
// that a power cut ended nothing else is left.
func (n *Node) sweepLayers(found []*container.Container) {
	dir := filepath.Join(n.cfg.StateDir, "replicas")
	layers, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.log.Error("what earlier replicas have left on disk stays there", "error", err)
	}
	keep := map[string]bool{}
	for _, c := range found {
		keep[c.ID()] = true
	}
	layers = slices.DeleteFunc(layers, func(l fs.DirEntry) bool { return keep[l.Name()] })
	n.work.Go(func() { // they may be large, and no new replica has one of these names
		for _, l := range layers {
			if n.stopped() {
				return // the next daemon goes on
			}
			if err := os.RemoveAll(filepath.Join(dir, l.Name())); err != nil {
				n.log.Error("cannot remove what an earlier replica has left on disk", "replica", l.Name(), "error", err)
			}
		}
	})
}

// loadSites fills the tables from disk. A site of which the record is damaged is
// taken from the copy of the state file, or else not served.
func (n *Node) loadSites() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var lacking unprepared
	defer func() {
		if lacking.count > 0 {
			n.log.Warn("sites ask for prepared replicas and get none: the configuration allows none (prepared.max)", "sites", lacking.count, "one", lacking.first)
		}
	}()
	var mended []*store.Site
	take := func(s *store.Site) error {
		err := n.takeSite(s)
		if err == nil {
			lacking.add(&s.Spec, n.can)
		}
		return err
	}
	bad := func(name string, why error) {
		s, err := n.store.FromCopy(name)
		if err == nil {
			err = take(s)
		}
		if err == nil {
			mended = append(mended, s)
			n.quarantined(badSite, api.Event{Site: name, Reason: why.Error(), Text: "its record was taken from the copy of the state file: look whether it is the newest"})
			return
		}
		n.quarantine.addSite(name, why)
		n.quarantined(badSite, api.Event{Site: name, Reason: why.Error(), Text: "it is not served, and refused: apply its spec again, or delete it"})
	}
	err := n.store.Readable(func(s *store.Site) error {
		err := take(s)
		if errors.Is(err, errTaken) {
			bad(s.Spec.Name, err)
			return nil
		}
		return err
	}, func(name string, why error) error {
		bad(name, why)
		return nil
	})
	if err == nil && len(mended) > 0 {
		if err := n.store.Put(mended); err != nil { // the next daemon takes them from the copy again
			n.log.Error("records that were taken from the copy are not in the state file", "error", err)
		}
	}
	return err
}

// errTaken means that two records claim what only one site can have.
var errTaken = errors.New("its record is damaged")

// takeSite enters a site into the tables, or nothing of it. The caller holds n.mu.
func (n *Node) takeSite(s *store.Site) error {
	e := newEntry(s)
	if other := n.ids[e.id]; other != nil {
		return fmt.Errorf("%w: site %s has the number %d too", errTaken, other.name, e.id)
	}
	for _, a := range e.addrs() {
		pool, err := n.poolOf(a)
		if err != nil {
			return fmt.Errorf("site %s: %w: put the prefix back into the configuration, or delete the site first", e.name, err)
		}
		if pool.used(a) {
			return fmt.Errorf("%w: another site has the address %s too", errTaken, a)
		}
	}
	for _, a := range e.addrs() {
		pool, _ := n.poolOf(a) // looked up above
		pool.take(a)
	}
	n.sites[e.name], n.ids[e.id] = e, e
	if s.Spec.Scale.Min > 0 {
		n.alwaysOn = append(n.alwaysOn, &s.Spec)
	}
	for _, d := range e.domains {
		n.domains[d] = e.name
	}
	return nil
}

func (n *Node) syncListeners() error {
	have, err := n.dp.Listeners()
	if err != nil {
		return err
	}
	missing := map[bpf.Listener]bpf.ListenerSite{}
	for _, e := range n.all() {
		for l, s := range e.listeners() {
			if is, ok := have[l]; !ok || is != s {
				missing[l] = s
			}
			delete(have, l)
		}
	}
	if err := n.dp.PutListeners(missing); err != nil {
		return err
	}
	stale := make([]bpf.Listener, 0, len(have))
	for l := range have {
		stale = append(stale, l)
	}
	return n.dp.DeleteListeners(stale...)
}

// adopt takes a running container over.
func (n *Node) adopt(c *container.Container, known map[bpf.ReplicaID]bpf.Replica, sites map[bpf.SiteID]bpf.Site) (site.ReplicaID, error) {
	name, number, ok := cutLast(c.ID(), "-")
	id, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil {
		return 0, errors.New("its name is not <site>-<number>")
	}
	e, err := n.byName(name)
	if err != nil {
		return 0, err
	}
	kernel, ok := known[bpf.ReplicaID(id)]
	if !ok || kernel.Site != e.id {
		return 0, errors.New("the data path does not know it")
	}
	ns, err := n.net.Pool().Adopt(c.NetnsPath(), kernel.Ifindex)
	if err != nil {
		return 0, err
	}
	stats, err := n.dp.Stats(bpf.ReplicaID(id))
	if err != nil {
		return 0, errors.Join(err, ns.Leave())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active == nil {
		if err := n.activate(e); err != nil {
			return 0, errors.Join(err, ns.Leave())
		}
	}
	r := &replica{
		id: site.ReplicaID(id), name: c.ID(), started: c.Created(), image: c.Meta()[metaImage],
		cancel: func() {}, ns: ns, kernel: kernel, ctr: c,
	}
	e.active.replicas[r.id] = r
	was := site.Found{Ready: stats.Ready4|stats.Ready6 != 0}
	placed(&was, bpf.ReplicaID(id), sites[e.id])
	n.refuseTwin(e)
	n.findTier(r, e.active.spec, stats, &was)
	for _, act := range e.active.machine.Adopt(time.Now(), r.id, was) {
		n.perform(e, act)
	}
	n.work.Go(func() { n.watch(e, r) })
	n.journalEvent(api.Event{Site: e.name, Replica: r.name, Kind: "adopted", Reason: "found running at the daemon's start"})
	return r.id, nil
}

// allAdopted has the machines act on what they were given: a spec that was
// applied, but the last daemon died before it acted on it; two replicas of which
// one was to replace the other.
func (n *Node) allAdopted() {
	for _, e := range n.awake.all() {
		e.mu.Lock()
		if a := e.active; a != nil {
			n.handle(e, site.AllAdopted{})
			changed, apart := false, false
			for _, r := range a.replicas {
				n.proveAgain(e, r)
				changed = changed || r.ctr != nil && r.ctr.Meta()[metaSpec] != a.spec.Digest()
				apart = apart || r.ctr != nil && r.ctr.Meta()[metaPorts] != portsMeta(a.spec)
			}
			if changed && e.active == a {
				n.handle(e, site.SpecChanged{Apart: apart})
			}
		}
		e.mu.Unlock()
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// bury takes away a container that ended while no daemon ran.
func (n *Node) bury(c *container.Container, st container.ExitStatus) {
	n.journalEvent(api.Event{Site: c.Site(), Replica: c.ID(), Kind: "exited", Reason: describe(st) + ", while no daemon ran"})
	if err := n.containers.Remove(c.ID()); err != nil {
		n.log.Error("cannot remove a container that has ended", "container", c.ID(), "error", err)
	}
}

// discard ends a container that belongs to nobody.
func (n *Node) discard(c *container.Container, why error) {
	n.journalEvent(api.Event{Site: c.Site(), Replica: c.ID(), Kind: "discarded", Reason: why.Error()})
	n.work.Go(func() {
		err := c.Kill(n.ctx)
		if err == nil {
			err = n.containers.Remove(c.ID())
		}
		if err != nil {
			n.log.Error("cannot remove a container that belongs to nobody", "container", c.ID(), "error", err)
		}
	})
}

// syncReplicas forgets what the data path knows of replicas that are gone, and
// parks the sites of which none is left.
func (n *Node) syncReplicas(known map[bpf.ReplicaID]bpf.Replica, adopted map[bpf.ReplicaID]bool) error {
	var errs []error
	for id, r := range known {
		if !adopted[id] {
			errs = append(errs, n.dp.RemoveReplica(id, r))
		}
	}
	sites, err := n.dp.Sites()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for id := range sites {
		e := n.byID(id)
		if e != nil {
			e.mu.Lock()
			awake := e.active != nil
			e.mu.Unlock()
			if awake {
				continue
			}
		}
		errs = append(errs, n.dp.ParkSite(id))
	}
	return errors.Join(errs...)
}
