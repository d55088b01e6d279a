package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
)

// Rate is a token bucket: so many at once, and one more after each Every. The
// zero value is no limit.
type Rate struct {
	Burst uint32
	Every time.Duration
}

func (r Rate) raw() dpFcRate { return dpFcRate{Every: uint64(r.Every), Burst: r.Burst} }

func (r dpFcRate) rate() Rate { return Rate{Burst: r.Burst, Every: time.Duration(r.Every)} }

// Limit is what a bucket is for.
type Limit uint32

// The limits.
const (
	LimitWakes       = Limit(dpFcLimitFC_LIMIT_WAKE)
	LimitConnections = Limit(dpFcLimitFC_LIMIT_CONNS)   // that a site begins in the Internet
	LimitPackets     = Limit(dpFcLimitFC_LIMIT_PACKETS) // that it sends there
	LimitTrust       = Limit(dpFcLimitFC_LIMIT_TRUST)   // see [Proof]: sources are asked to prove their address
)

// Limited says that a bucket is empty, and what would take of it is dropped. It is told
// once, and again when that has lasted for ten minutes.
type Limited struct {
	Time  uint64 // CLOCK_MONOTONIC
	Limit Limit
	// Peer is, of wakes, whose packet it was: the network of which the bucket is, or where Site is not 0 one address;
	// of what a site sends, where to; of trust, who was the first to be asked.
	Peer netip.Prefix
	Site SiteID // of which it is; 0: of the source, or of trust
}

// LimitedReader reads what was limited. Close ends a waiting Read.
type LimitedReader struct {
	r   *ringbuf.Reader
	rec ringbuf.Record
}

// Limited opens the ring of what was limited.
func (d Policy) Limited() (*LimitedReader, error) {
	r, err := ringbuf.NewReader(d.objs.FcLimitedRing)
	if err != nil {
		return nil, fmt.Errorf("open the ring of limited wakes: %w", err)
	}
	return &LimitedReader{r: r}, nil
}

// Read waits for the next one. After Close it returns os.ErrClosed.
func (r *LimitedReader) Read() (Limited, error) {
	if err := r.r.ReadInto(&r.rec); err != nil {
		return Limited{}, err
	}
	var raw dpFcLimited
	if b := r.rec.RawSample; len(b) < int(unsafe.Sizeof(raw)) {
		return Limited{}, fmt.Errorf("limited wake of %d bytes, want %d: the program and this daemon differ", len(b), unsafe.Sizeof(raw))
	}
	if _, err := binary.Decode(r.rec.RawSample, binary.NativeEndian, &raw); err != nil {
		return Limited{}, fmt.Errorf("decode limited wake: %w", err)
	}
	out := Limited{Time: raw.Ns, Limit: Limit(raw.Limit), Site: SiteID(raw.Site)}
	source := fromAddr(raw.Source)
	out.Peer = netip.PrefixFrom(source, source.BitLen())
	// all bits of a bucket's key are set only of a site's
	if network := SourceOf(source); out.Site == 0 && out.Limit == LimitWakes && network.Addr() == source {
		out.Peer = network
	}
	return out, nil
}

// Close ends a waiting Read.
func (r *LimitedReader) Close() error { return r.r.Close() }

// SourceOf is the network that stands for an address, as who has one of its addresses
// can pretend to have any: a /24, or a /64.
func SourceOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits) // fits both families; of no address it is none
	return p
}
