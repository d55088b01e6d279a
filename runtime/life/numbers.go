package life

import "sync"

// Numbers gives replicas their numbers, none of them twice, also over restarts.
// They are taken from the disk in blocks, the next of which is there before the last
// one is used up: a wake does not wait for the disk, and none for another's.
type Numbers struct {
	Take func() (first, last uint32, err error) // a block, behind all others
	Go   func(func())                           // runs it beside
	Lost func(error)                            // is told when no block can be had

	mu     sync.Mutex
	next   uint32 // above last: none is left
	last   uint32
	taking bool
}

// Reserve takes a block at once, for a daemon that starts.
func (n *Numbers) Reserve() {
	n.mu.Lock()
	n.taking = true
	n.mu.Unlock()
	n.refill()
}

// Above says that a number is in use, of a replica that an earlier daemon has
// started: it may not have been reserved, and there may be no disk.
func (n *Numbers) Above(used uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next = max(n.next, used+1)
}

// Next gives a number. Where there is none because the disk is full, broken or
// late, it is one that is not reserved: it is unique in this boot all the same, and
// nothing that outlives the boot is named by it.
func (n *Numbers) Next() uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next = max(n.next, 1)
	id := n.next
	n.next++
	if n.next+ahead > n.last && !n.taking {
		n.taking = true
		n.Go(n.refill)
	}
	return id
}

// ahead is how many numbers are left when the next block is taken: more than
// start while a disk makes people look at it.
const ahead = 2048

func (n *Numbers) refill() {
	first, last, err := n.Take()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taking = false
	if err != nil {
		n.Lost(err)
		return
	}
	if first != n.last+1 {
		n.next = max(n.next, first)
	}
	n.last = last
}
