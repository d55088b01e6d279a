package life

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/site"
)

// A site's replicas are numbered in the order of their starts: blog-1, blog-2. A new
// daemon goes on after those that it finds. The data path knows each replica by
// another number, which no other on the node has ever had. Containers have both in
// their ID, as their files must not meet: blog-2.117.

// nextName names a replica that is about to be made. One that takes the place of
// another, which died at its gate, is that replica still.
func (l *Live) nextName(id site.ReplicaID) string {
	if old := l.Replicas[id]; old != nil {
		return old.Name
	}
	l.number++
	return fmt.Sprintf("%s-%d", l.Name, l.number)
}

// NumberAfter has the next replicas numbered after one that an earlier daemon has started.
func (l *Live) NumberAfter(name string) {
	_, text := cutLast(name, "-")
	if number, err := strconv.ParseUint(text, 10, 32); err == nil {
		l.number = max(l.number, uint32(number))
	}
}

func (r *Replica) containerID() string { return fmt.Sprintf("%s.%d", r.Name, r.ID) }

// OfContainer says of which site a container's ID is, and what the data path calls
// its replica. The IDs of earlier versions were <site>-<number in the data path>.
func OfContainer(id string) (siteName string, replica site.ReplicaID, err error) {
	name := container.Name(id)
	siteName, last := cutLast(name, "-")
	if name != id {
		_, last = cutLast(id, ".")
	}
	number, err := strconv.ParseUint(last, 10, 32)
	if siteName == "" || err != nil {
		return siteName, 0, fmt.Errorf("%q is not the name of a replica", id)
	}
	return siteName, site.ReplicaID(number), nil
}

// ReplicaName is the name of a replica that the data path knows; "": it is gone.
func (st *Site) ReplicaName(id bpf.ReplicaID) (name string) {
	st.With(func(l *Live) {
		if l.Activity == nil {
			return
		}
		if r := l.Replicas[site.ReplicaID(id)]; r != nil {
			name = r.Name
		}
	})
	return name
}

func cutLast(s, sep string) (before, after string) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+len(sep):]
}

// remove lets go of a replica of which nothing is left.
func (r *Replica) remove(l *Live) {
	a := cmp.Or(l.Activity, l.left)
	if a == nil || a.Replicas[r.ID] != r {
		return
	}
	delete(a.Replicas, r.ID)
	a.notify()
	if l.Activity != nil {
		l.endIdle()
	}
}
