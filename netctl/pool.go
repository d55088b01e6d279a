package netctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// replicaPrefix and a number make the names of host ends.
const replicaPrefix = "fcv"

// After a failure the next namespace is tried when somebody asks for one, and
// at the latest after this time.
const retryAfter = time.Second

// Pool keeps network namespaces ready, so that a wake need not wait for one.
// Its methods are safe for concurrent use.
type Pool struct {
	node    *netlink.Handle
	remover *remover
	nodeNS  *os.File
	dp      Datapath
	mtu     int
	yield   func(hurry <-chan struct{})
	guarded func(f func() error) error
	log     *slog.Logger

	places chan struct{}   // taken by the maker before it makes one, given back by who takes that one
	ready  chan *Namespace // filled by the maker
	failed chan error      // unbuffered: reaches only those who wait right now
	stop   chan struct{}
	done   chan struct{} // closed by the maker at its end

	next atomic.Uint32 // number of the next host end

	waitMu  sync.Mutex
	waiting int           // who wants one and found none
	hurry   chan struct{} // closed when somebody does; nil unless the maker yields

	close sync.Once
	err   error // of Close
}

// newPool starts filling the pool. The node's handles stay its own and must
// outlive the pool.
func newPool(n *Net) (*Pool, error) {
	p := &Pool{
		node: n.node, remover: n.remover, nodeNS: n.nodeNS, dp: n.dp, mtu: n.mtu, yield: n.cfg.Yield, guarded: n.cfg.guarded, log: n.log,
		places: make(chan struct{}, n.cfg.Pool),
		ready:  make(chan *Namespace, n.cfg.Pool),
		failed: make(chan error),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	if err := p.skipTaken(); err != nil {
		return nil, err
	}
	go p.fill()
	return p, nil
}

// skipTaken starts the numbers behind those of replicas that live on.
func (p *Pool) skipTaken() error {
	links, err := dump(p.node.LinkList)
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	var next uint64
	for _, l := range links {
		if n, ok := replicaNumber(l.Attrs().Name); ok {
			next = max(next, n+1)
		}
	}
	p.next.Store(uint32(next))
	return nil
}

func replicaNumber(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, replicaPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	return n, err == nil
}

// Get returns a namespace: at once if one is ready, else as soon as one is
// made. It fails when making one fails meanwhile, when ctx ends or the pool is
// closed.
func (p *Pool) Get(ctx context.Context) (*Namespace, error) {
	// Not by the select below, which picks at random: a closed pool gives
	// nothing.
	if p.closed() {
		return nil, fmt.Errorf("take a network namespace from the pool: %w", ErrClosed)
	}
	select {
	case n := <-p.ready:
		<-p.places
		return n, nil
	default:
	}
	p.wait(1)
	defer p.wait(-1)
	select {
	case n := <-p.ready:
		<-p.places
		return n, nil
	case err := <-p.failed:
		return nil, err
	case <-p.stop:
		return nil, fmt.Errorf("take a network namespace from the pool: %w", ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a network namespace: %w", ctx.Err())
	}
}

func (p *Pool) closed() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// Ready is how many namespaces can be had without waiting.
func (p *Pool) Ready() int { return len(p.ready) }

// fill is the maker: it makes one namespace after the other and offers it.
func (p *Pool) fill() {
	defer close(p.done)
	for {
		select {
		case p.places <- struct{}{}:
		case <-p.stop:
			return
		}
		p.letOthers()
		n, err := p.make()
		for err != nil {
			if !p.report(err) {
				return
			}
			n, err = p.make()
		}
		p.ready <- n // there is a place
	}
}

// wait counts who waits.
func (p *Pool) wait(more int) {
	p.waitMu.Lock()
	p.waiting += more
	waiting := p.waiting > 0
	p.waitMu.Unlock()
	if waiting {
		p.hasten()
	}
}

// hasten ends the maker's yielding.
func (p *Pool) hasten() {
	p.waitMu.Lock()
	defer p.waitMu.Unlock()
	if p.hurry != nil {
		close(p.hurry)
		p.hurry = nil
	}
}

// letOthers lets those go first who have more use for the processors than a
// namespace for later has. It does not where somebody waits for one, or where
// so many went so quickly that less than half are left.
func (p *Pool) letOthers() {
	if p.yield == nil || len(p.ready) < cap(p.ready)/2 {
		return
	}
	p.waitMu.Lock()
	if p.waiting > 0 || p.closed() {
		p.waitMu.Unlock()
		return
	}
	hurry := make(chan struct{})
	p.hurry = hurry
	p.waitMu.Unlock()
	p.yield(hurry)
	p.waitMu.Lock()
	defer p.waitMu.Unlock()
	p.hurry = nil
}

// report tells who waits why there is nothing, or the log if nobody does, and
// returns when it is time to try again; false: the pool is closed.
func (p *Pool) report(err error) bool {
	timer := time.NewTimer(retryAfter)
	defer timer.Stop()
	select {
	case p.failed <- err:
	case <-timer.C:
		p.log.Error("cannot prepare a network namespace; trying again", "error", err)
	case <-p.stop:
		return false
	}
	return true
}

// make makes one namespace, with its program attached.
func (p *Pool) make() (*Namespace, error) {
	var n *Namespace
	err := p.guarded(func() error {
		return thread.InNetns(p.nodeNS, func() (err error) {
			n, err = p.makeHere()
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// makeHere is make in the node's network namespace.
func (p *Pool) makeHere() (*Namespace, error) {
	for {
		name := replicaPrefix + strconv.FormatUint(uint64(p.next.Add(1)-1), 10)
		pair, err := makePair(p.node, name, p.mtu, replicaSettings)
		if errors.Is(err, unix.EEXIST) {
			continue // somebody else's device
		}
		if err != nil {
			return nil, fmt.Errorf("prepare a network namespace: %w", err)
		}
		n := &Namespace{name: name, remover: p.remover, dp: p.dp, pair: pair}
		if err := p.dp.AttachReplica(pair.host); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare a network namespace: %w", err), n.Close())
		}
		return n, nil
	}
}

// Adopt takes back the namespace of a replica that another daemon has started.
// netnsPath is where it can be reached (/proc/PID/ns/net of a process inside).
func (p *Pool) Adopt(netnsPath string, hostIfindex int) (*Namespace, error) {
	host, err := p.node.LinkByIndex(hostIfindex)
	if err != nil {
		return nil, fmt.Errorf("adopt a replica's network namespace: finding its veth %d: %w", hostIfindex, err)
	}
	if err := ours(host, "veth"); err != nil {
		return nil, fmt.Errorf("adopt a replica's network namespace: %w", err)
	}
	ns, err := os.Open(netnsPath)
	if err != nil {
		return nil, fmt.Errorf("adopt the network namespace behind %s: %w", host.Attrs().Name, err)
	}
	var n *Namespace
	err = thread.InNetns(p.nodeNS, func() error {
		pair, err := adoptPair(p.node, ns, host)
		if err != nil {
			return err
		}
		n = &Namespace{name: host.Attrs().Name, remover: p.remover, dp: p.dp, pair: pair}
		if err := p.dp.AttachReplica(hostIfindex); err != nil {
			return errors.Join(err, n.Leave())
		}
		return nil
	})
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("adopt the network namespace behind %s: %w", host.Attrs().Name, err)
	}
	return n, nil
}

// Close ends the making of namespaces and takes away those that nobody has
// taken. Namespaces that were given out are not touched.
func (p *Pool) Close() error {
	p.close.Do(func() {
		close(p.stop)
		p.hasten()
		<-p.done
		for {
			select {
			case n := <-p.ready:
				p.err = errors.Join(p.err, n.Close())
				continue
			default:
			}
			return
		}
	})
	return p.err
}
