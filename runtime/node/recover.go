package node

import (
	"errors"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/sites"
)

// recover brings memory, the data path and the running containers together
// after a start, whatever the last daemon was doing when it ended:
//   - the sites on disk are the truth: listeners in the data path are added and
//     taken away to match them;
//   - containers of these sites are adopted with their connections; all others
//     are stopped;
//   - what the data path knows of replicas that are gone is removed.
func (n *Node) recover() error {
	if err := n.table.Load(); err != nil {
		return err
	}
	n.FindImages()
	if err := n.table.SyncRules(); err != nil {
		return err
	}
	if err := n.table.SyncListeners(); err != nil {
		return err
	}
	known, err := n.dp.Replicas()
	if err != nil {
		return err
	}
	ran := sites.NewRan(n.table, known)
	containers, bad, err := n.containers.Adopt(n.Ctx)
	if err != nil {
		return err
	}
	for _, q := range bad {
		ran.Found(q.ID)
		sites.QuarantineReplica(n.table, q)
	}
	n.SweepLeft() // now that dumps which were under way are over
	keep := map[string]bool{}
	for _, c := range containers {
		keep[c.ID()] = true
		ran.Found(c.ID())
	}
	ran.TellLost()
	n.SweepLayers(keep)
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
			n.Log.Warn("a container was found that cannot be adopted; stopping it", "container", c.ID(), "error", err)
			n.discard(c, err)
			continue
		}
		adopted[bpf.ReplicaID(id)] = true
	}
	n.allAdopted()
	if err := errors.Join(n.syncReplicas(known, adopted), n.dp.ClearHolds()); err != nil {
		n.Log.Error("the data path still knows something of earlier replicas", "error", err)
	}
	return nil
}

// adopt takes a running container over.
func (n *Node) adopt(c *container.Container, known map[bpf.ReplicaID]bpf.Replica, sites map[bpf.SiteID]bpf.Site) (site.ReplicaID, error) {
	name, id, err := life.OfContainer(c.ID())
	if err != nil {
		return 0, err
	}
	e, err := n.table.ByName(name)
	if err != nil {
		return 0, err
	}
	kernel, ok := known[bpf.ReplicaID(id)]
	if !ok || kernel.Site != e.ID {
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
	var adopted error
	n.Guard(e, func() { // after a panic it is the quarantine's
		adopted = life.Adopt(e, id, life.KernelContainer{Container: c}, kernel, ns, stats, sites[e.ID])
	})
	if adopted != nil {
		return 0, errors.Join(adopted, ns.Leave())
	}
	return id, nil
}

// allAdopted has the machines act on what they were given.
func (n *Node) allAdopted() {
	for _, e := range n.Awake.All() {
		n.Guard(e, func() { e.With((*life.Live).AllAdopted) })
	}
}

// bury takes away a container that ended while no daemon ran.
func (n *Node) bury(c *container.Container, st container.ExitStatus) {
	if kept, err := n.Store.Get(c.Site()); err == nil && st.OOMKilled {
		n.Tell(life.OutOfMemory(c.Site(), c.Name(), life.Bounded(&n.Cfg, &kept.Spec)))
	}
	n.Tell(event.Event{Site: c.Site(), Replica: c.Name(), Kind: event.Exited, Reason: life.Describe(st) + ", while no daemon ran"})
	if e, err := n.table.ByName(c.Site()); err == nil {
		e.With(func(l *life.Live) { l.NumberAfter(c.Name()) })
	}
	if err := n.containers.Remove(c.ID()); err != nil {
		n.Log.Error("cannot remove a container that has ended", "container", c.ID(), "error", err)
	}
}

// discard ends a container that belongs to nobody.
func (n *Node) discard(c *container.Container, why error) {
	n.Tell(event.Event{Site: c.Site(), Replica: c.Name(), Kind: event.Discarded, Reason: why.Error()})
	n.Go(func() {
		err := c.Kill(n.Ctx)
		if err == nil {
			err = n.containers.Remove(c.ID())
		}
		if err != nil {
			n.Log.Error("cannot remove a container that belongs to nobody", "container", c.ID(), "error", err)
		}
	})
}

// syncReplicas removes what the data path knows of replicas that are gone, and
// parks the sites of which none is left.
func (n *Node) syncReplicas(known map[bpf.ReplicaID]bpf.Replica, adopted map[bpf.ReplicaID]bool) error {
	var errs []error
	for id, r := range known {
		if !adopted[id] {
			if e := n.table.ByID(r.Site); e != nil {
				n.Guard(e, func() { e.CountEnded(site.ReplicaID(id)) })
			}
			errs = append(errs, n.dp.RemoveReplica(id, r))
		}
	}
	sites, err := n.dp.Sites()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for id := range sites {
		e := n.table.ByID(id)
		if e != nil && (e.IsLive() || e.Quarantined()) {
			continue
		}
		errs = append(errs, n.dp.ParkSite(id))
	}
	return errors.Join(errs...)
}
