package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/spec"
)

// Replica is the inside of one.
type Replica interface {
	// Dial connects by TCP, within the replica's network namespace.
	Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	// Root is a descriptor of the replica's root directory, which the caller closes.
	Root() (fd int, err error)
	// Run executes a command in the replica. An exit code other than 0 is an error.
	Run(ctx context.Context, args []string) error
}

// Target is whom to ask.
type Target struct {
	Replica
	Addrs []netip.Addr // the site's VIPs
	Host  string       // for HTTP
	Port  int          // for HTTP
}

// Limits of an HTTP answer that is read, in bytes.
const (
	maxHeader = 64 << 10
	maxBody   = 64 << 10
)

// Ask makes one try, which ends within the probe's timeout unless a file system
// hangs. A probe that asks nothing passes.
func Ask(ctx context.Context, p spec.Probe, t Target) error {
	ctx, cancel := context.WithTimeout(ctx, p.Within())
	defer cancel()
	switch {
	case p.HTTP != "":
		return askHTTP(ctx, p, t)
	case p.TCP != 0:
		return askTCP(ctx, p, t)
	case p.Unix != "":
		return askUnix(ctx, p.Unix, t)
	case p.File != "":
		return askFile(p.File, t)
	case len(p.Exec) > 0:
		if err := t.Run(ctx, p.Exec); err != nil {
			return fmt.Errorf("run %s: %w", p.Exec[0], orTimeout(ctx, p, err))
		}
	}
	return nil
}

// orTimeout says so where an error is only the end of the time.
func orTimeout(ctx context.Context, p spec.Probe, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", spec.Duration(p.Within()))
	}
	return err
}

// paths lead to a port from inside, the visitors' first. They come from a loopback
// address, by which the data path knows that nobody visits. The IPv6 VIP is not
// among them: Linux loses the refusal of a connection from ::1 to it, since ::1 has
// no route but by lo, and a question to nobody would take all of its time.
func (t Target) paths() (out [][2]netip.Addr) {
	lo4, lo6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	for _, a := range t.Addrs {
		if a.Is4() {
			out = append(out, [2]netip.Addr{lo4, a})
		}
	}
	return append(out, [2]netip.Addr{lo4, lo4}, [2]netip.Addr{lo6, lo6})
}

// Reach connects to a port by the first address that accepts: the site's own,
// 127.0.0.1, ::1.
func (t Target) Reach(ctx context.Context, port int) (net.Conn, error) {
	var first error
	for _, path := range t.paths() {
		c, err := t.Dial(ctx, path[0], netip.AddrPortFrom(path[1], uint16(port)))
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if errors.Is(first, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("nobody listens on port %d", port)
	}
	return nil, fmt.Errorf("connect to port %d: %w", port, first)
}

func askTCP(ctx context.Context, p spec.Probe, t Target) error {
	c, err := t.Reach(ctx, p.TCP)
	if err != nil {
		return orTimeout(ctx, p, err)
	}
	_ = c.Close() // nothing was sent
	return nil
}

func askHTTP(ctx context.Context, p spec.Probe, t Target) error {
	what := fmt.Sprintf("GET %s on port %d", p.HTTP, t.Port)
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return t.Reach(ctx, t.Port) },
	}
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	host := t.Host
	if t.Port != 80 {
		host = net.JoinHostPort(host, strconv.Itoa(t.Port))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+p.HTTP, http.NoBody)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	req.Header.Set("User-Agent", "fcnode-probe")
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", what, orTimeout(ctx, p, inner(err)))
	}
	defer resp.Body.Close()
	// Read for the sake of servers that take a connection closed early for an error.
	_, _ = io.CopyN(io.Discard, resp.Body, maxBody)
	if !p.Accepts(resp.StatusCode) {
		return fmt.Errorf("%s: status %d, want %s", what, resp.StatusCode, wanted(p))
	}
	return nil
}

// inner takes off what net/http says about the request, which is said already.
func inner(err error) error {
	if next := errors.Unwrap(err); next != nil {
		return next
	}
	return err
}

func wanted(p spec.Probe) string {
	if p.Status != 0 {
		return strconv.Itoa(p.Status)
	}
	return "200 to 399"
}
