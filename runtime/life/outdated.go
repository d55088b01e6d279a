package life

import (
	"fmt"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/volume"
)

// What a replica has mounted stays as it was when it was started, whatever is put
// at the sources of its volumes later: a deployment that exchanges a folder, or the
// link to it. So before anything wakes a replica that sleeps, its sources are
// compared, and one that would serve something old is replaced. New flows to it are
// held until then (publish), as its kernel would answer them at once.

// theirs leaves out the volumes that the node keeps, in dir: nobody exchanges these.
func theirs(sources []volume.Source, dir string) []volume.Source {
	var out []volume.Source
	for _, s := range sources {
		if !volume.Within(s.Path, dir) {
			out = append(out, s)
		}
	}
	return out
}

// outdated gives what the machine has to know before an event, and the event.
func (l *Live) outdated(ev site.Event) []site.Event {
	var events []site.Event
	look := func(id site.ReplicaID) {
		r := l.Replicas[id]
		if r == nil || r.stopping || len(r.sources) == 0 {
			return
		}
		path := l.Host.Sources.Changed(r.sources)
		if path == "" {
			return
		}
		if k, knocked := ev.(site.Knocked); knocked && k.ID == id { // who knocks there has a connection to it
			k.Outdated = otherNow(path)
			ev = k
			return
		}
		events = append(events, site.Outdated{ID: id, Reason: otherNow(path)})
	}
	for _, r := range l.Machine.Replicas() {
		if r.State == site.Asleep {
			look(r.ID)
		}
	}
	for _, id := range l.Machine.Prepared() {
		look(id)
	}
	return append(events, ev)
}

func otherNow(path string) string {
	return fmt.Sprintf("%s is something else now than when it was mounted", path)
}

// outdatedImage says which source of the site's image is something else now; "":
// none, as far as can be told. born is when the processes in it were started.
func (st *Site) outdatedImage() (path string, born time.Time) {
	m, err := criu.Read(st.Host.checkpointDir(st.Name))
	if err != nil {
		return "", born // the restore finds the same
	}
	born = bornIn(&m)
	sources, err := container.SourcesOf(m)
	if err != nil {
		return "", born // as above
	}
	return st.Host.Sources.Changed(sources), born
}
