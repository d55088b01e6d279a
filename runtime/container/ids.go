package container

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/fcnode/fcnode/runtime/container/wire"
)

// The users and groups of containers with user namespaces of their own, by the
// machine's numbers: above those of systemd's containers (524288 to 1879048191)
// and what /etc/subuid gives to people, and below -1.
const (
	firstIDs = wire.IDs(1879048192)
	idRanges = 36863
	// The kernel lets groups above 2147483647 send no pings (ping_group_range), so
	// these ranges are taken first.
	pingRanges = 4096
)

// ids are the ranges that are in use. No two containers have the same one at the
// same time, not even two replicas of a site.
type ids struct {
	count int // of ranges

	mu   sync.Mutex
	used map[wire.IDs]bool
	next int // where to look: what was just given back is given out last
}

func newIDs(count int) *ids {
	return &ids{count: count, used: map[wire.IDs]bool{}, next: rand.IntN(min(count, pingRanges))}
}

// take gives a range that nobody has.
func (i *ids) take() (wire.IDs, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	first := min(i.count, pingRanges)
	for n := range i.count {
		if n < first {
			n = (i.next + n) % first
		}
		one := firstIDs + wire.IDs(n)*wire.IDCount
		if i.used[one] {
			continue
		}
		i.used[one] = true
		if n < first {
			i.next = n + 1
		}
		return one, nil
	}
	return 0, fmt.Errorf("all %d ranges of users for user namespaces are in use; end other sites, or give this one userns: host", i.count)
}

// mark takes a range that a container was found with.
func (i *ids) mark(one wire.IDs) {
	if one == 0 {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.used[one] = true
}

func (i *ids) giveBack(one wire.IDs) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.used, one)
}
