package sites

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/store"
)

// QuarantineReplica tells of a replica of an earlier daemon that was not adopted.
func QuarantineReplica(t *Table, q container.Quarantined) {
	siteName, _, _ := life.OfContainer(q.ID)
	text := "what belonged to it has ended; the site's next visitor gets a fresh replica"
	if q.Files != "" {
		text += "; its record is in " + q.Files
	}
	if q.ID == "" {
		text = "a reboot ends what no signal can end"
	}
	t.host.Quarantined(life.BadReplica, event.Event{Site: siteName, Replica: container.Name(q.ID), Reason: q.Why.Error(), Text: text})
	e, err := t.ByName(siteName)
	if err != nil {
		return // of no site of this node
	}
	e.With(func(l *life.Live) { l.QuarantineReplica(container.Name(q.ID), q.Why) })
}

// Ran are replicas of an earlier daemon that listened when this one started, as the data path tells, until their records are found.
type Ran struct {
	table *Table
	left  map[site.ReplicaID]bpf.SiteID
}

// NewRan looks at those that the data path knows, before anything is done about them.
func NewRan(t *Table, known map[bpf.ReplicaID]bpf.Replica) Ran {
	r := Ran{t, map[site.ReplicaID]bpf.SiteID{}}
	for id, of := range known {
		if st, err := t.host.Data.Stats(id); err == nil && st.Ready4|st.Ready6 != 0 {
			r.left[site.ReplicaID(id)] = of.Site
		}
	}
	return r
}

// Found is called for each container of which there is a record, whatever is in it.
func (r Ran) Found(containerID string) {
	if _, id, err := life.OfContainer(containerID); err == nil {
		delete(r.left, id)
	}
}

// TellLost tells of those that have none.
func (r Ran) TellLost() {
	for _, id := range slices.Sorted(maps.Keys(r.left)) {
		if e := r.table.ByID(r.left[id]); e != nil { // else it is deleted
			r.table.host.Quarantined(life.BadReplica, event.Event{
				Site: e.Name, Reason: fmt.Sprintf("replica %d ran, and its record is gone from %s", id, r.table.host.Cfg.RunDir),
				Text: "what belonged to it has ended; the site's next visitor gets a fresh replica",
			})
		}
	}
}

// TellRecovered tells that the state file was damaged.
func TellRecovered(h *life.Host, r *store.Recovery) {
	if r == nil {
		return
	}
	text := fmt.Sprintf("its copy of %s with %d sites took its place: apply or delete again what was applied or deleted since", r.Made.Format(time.RFC3339), r.Sites)
	if r.Files != "" {
		text += "; the damaged file is " + r.Files
	}
	h.Quarantined(life.BadFile, event.Event{Reason: r.Why.Error(), Text: text})
}
