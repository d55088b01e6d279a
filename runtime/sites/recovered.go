package sites

import (
	"fmt"
	"time"

	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
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
