package front

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// warmFor is how long a connection that woke a site waits for its first request, unless a test has it shorter.
const warmFor = 3 * time.Second

// upstream is what the gateway knows of a site besides its route: whether it has connections to it, and who waits for the first.
//
// While there is no connection the site may sleep. Then one connection is opened, on which all wait who want to reach the site,
// so that the node holds one packet for all of them; whoever comes first gets it.
type upstream struct {
	dial    func(network, addr string) (net.Conn, error)
	warmFor time.Duration
	// busy counts requests that are under way, and visitors those that are not ignored; left is when the last of these ended,
	// since the epoch of the process.
	busy, visitors, left atomic.Int64

	mu   sync.Mutex
	open int      // connections, the warm one among them
	wake *attempt // nil unless one is under way
	warm *conn    // nil or without a request yet
}

// attempt is a connection that is being opened. Read err when done is closed.
type attempt struct {
	done chan struct{}
	err  error
}

// unreachableError says that a site could not be woken.
type unreachableError struct{ err error }

func (e *unreachableError) Error() string {
	return fmt.Sprintf("the site cannot be reached: %v", e.err)
}
func (e *unreachableError) Unwrap() error { return e.err }

func newUpstream(dial func(network, addr string) (net.Conn, error), warmFor time.Duration) *upstream {
	u := &upstream{dial: dial, warmFor: warmFor}
	u.left.Store(math.MinInt64 / 2)
	return u
}

// visits counts a request that is not ignored until it ends.
func (u *upstream) visits() (end func()) {
	u.visitors.Add(1)
	return func() {
		u.left.Store(int64(time.Since(epoch)))
		u.visitors.Add(-1)
	}
}

// visitedWithin says whether a visitor's request is under way, or has ended so recently. Nothing else keeps the site awake: not
// that ignored requests use the connections that visitors have left.
func (u *upstream) visitedWithin(d time.Duration) bool {
	return u.visitors.Load() > 0 || int64(time.Since(epoch))-u.left.Load() < int64(d)
}

// asleep says whether there is no connection to the site, and none being opened.
func (u *upstream) asleep() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open == 0 && u.wake == nil
}

// begin opens a connection to a site that has none, if nobody does. It returns nil where there is one.
func (u *upstream) begin(addr string) *attempt {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.wake != nil {
		return u.wake
	}
	if u.open > 0 {
		return nil
	}
	u.wake = &attempt{done: make(chan struct{})}
	go u.connect(u.wake, addr)
	return u.wake
}

func (u *upstream) connect(a *attempt, addr string) {
	c, err := u.dial("tcp", addr)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wake = nil
	if err != nil {
		a.err = &unreachableError{err: err}
	} else {
		u.open++
		u.warm = &conn{Conn: c, upstream: u}
		u.warm.expire = time.AfterFunc(u.warmFor, u.cool(u.warm))
	}
	close(a.done)
}

// cool closes a warm connection that nobody wanted.
func (u *upstream) cool(c *conn) func() {
	return func() {
		u.mu.Lock()
		unused := u.warm == c
		if unused {
			u.warm = nil
		}
		u.mu.Unlock()
		if unused {
			c.Close()
		}
	}
}

// take gives the warm connection to whoever asks first, if it leads to the address.
func (u *upstream) take(addr string) (net.Conn, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.warm
	if c == nil || c.RemoteAddr().String() != addr {
		return nil, false
	}
	u.warm = nil
	c.expire.Stop()
	return c, true
}

// reach waits until the site is awake as far as can be told: it has a connection, or somebody has just opened one.
func (u *upstream) reach(ctx context.Context, addr string) error {
	a := u.begin(addr)
	if a == nil {
		return nil
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// counted counts a connection until it is closed.
func (u *upstream) counted(c net.Conn) *conn {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open++
	return &conn{Conn: c, upstream: u}
}

// conn is a connection to a site.
type conn struct {
	net.Conn
	upstream *upstream
	expire   *time.Timer
	closed   sync.Once
}

// Close closes the connection, which then no longer counts.
func (c *conn) Close() error {
	c.closed.Do(func() {
		c.upstream.mu.Lock()
		c.upstream.open--
		c.upstream.mu.Unlock()
	})
	return c.Conn.Close()
}

// CloseWrite ends the connection in one direction.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
