package bpf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// modelled is a data path that is compared with the model of it.
type modelled struct {
	*rig
	asleep, awake []netip.Addr
}

func newModelled(t testing.TB) *modelled {
	t.Helper()
	m := &modelled{
		rig: newRig(t), asleep: []netip.Addr{vip4, vip6},
		awake: []netip.Addr{netip.MustParseAddr("10.77.0.3"), netip.MustParseAddr("fd77:fc::3")},
	}
	m.listen(t, 1, m.asleep...)
	m.listen(t, 2, m.awake...)
	m.replica(t, 6, 2, 7, 7)
	m.site(t, 2, Site{Replicas: replicas(6)})
	return m
}

// compare runs a frame and expects what the model says of it.
func (m *modelled) compare(t testing.TB, frame []byte) {
	t.Helper()
	end, bad := fate(frame, m.asleep, m.awake)
	ret, counts := uint32(actOK), counted{}
	switch end {
	case held:
		counts["held"] = 1
	case notHeld:
		counts["hold_too_large"] = 1
	case refused:
		ret, counts["sink"] = actRedirect, 1
	case steers:
		ret, counts["steered"] = actRedirect, 1
	}
	if bad {
		counts["malformed"] = 1
	}
	before := m.counters(t)
	got, err := runRaw(m.objs.FcDevice, frame, 0)
	if errors.Is(err, unix.EINVAL) && len(frame) < 14+40 {
		return // less than a header, which no kernel runs a program with
	}
	if err != nil {
		t.Fatalf("%s: %v", hex.EncodeToString(frame), err)
	}
	diff := m.counters(t).since(before)
	delete(diff, "cell_taken") // as so many come
	for name, n := range diff {
		if counts[name] != n {
			t.Errorf("%x: %s, but counted %v", frame, end, diff)
			break
		}
	}
	if got != ret || len(diff) != len(counts) {
		t.Errorf("%x: returned %d and counted %v, want %d and %v (%s)", frame, int32(got), diff, int32(ret), counts, end)
	}
	if end != held {
		return
	}
	if p, ok := m.nextHeld(t); !ok || !bytes.Equal(p.Data, frame) {
		t.Errorf("%x: held is %x", frame, p.Data)
	}
	if err := m.ClearHold(1); err != nil { // the next may be of the same site
		t.Error(err)
	}
}

// odd makes a packet that is nearly right: of all parts that packets have, some of which are damaged, cut off or too many.
func odd(r *rand.Rand) []byte {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	p := packet{proto: []Proto{TCP, TCP, TCP, UDP, UDP, protoICMP, protoICMPv6, 47}[r.IntN(8)], seq: r.Uint32(), flags: syn}
	ports := []uint16{80, 443, 53, 8080}
	var src [16]byte
	for i := range src {
		src[i] = byte(r.Uint32())
	}
	src[0] = 0x20
	four := r.IntN(2) == 0
	to := pick("10.77.0.2", "10.77.0.3", "10.77.9.9")
	from := netip.AddrFrom4([4]byte{203, src[1], src[2], src[3]})
	if !four {
		to, from = pick("fd77:fc::2", "fd77:fc::3", "fd77:fc::9:9"), netip.AddrFrom16(src)
	}
	p.src = netip.AddrPortFrom(from, uint16(1024+r.IntN(60000)))
	p.dst = netip.AddrPortFrom(netip.MustParseAddr(to), ports[r.IntN(len(ports))])
	if r.IntN(3) == 0 {
		p.flags = tcpFlags(r.IntN(64))
	}
	p.icmp = []byte{0, 1, 3, 4, 8, 11, 12, 128, 129, 135}[r.IntN(10)]
	p.payload = make([]byte, []int{0, 0, 1, 40, 1400, 2100}[r.IntN(6)])
	if r.IntN(4) == 0 {
		p.fragID, p.frag = r.Uint32(), []uint16{0, 1, 8, 0x2000, 0x2001, 0x4000, 0xfff8}[r.IntN(7)]
	}
	if four && r.IntN(4) == 0 {
		p.options = make([]byte, 4*(1+r.IntN(10)))
	}
	if !four && r.IntN(2) == 0 {
		p.extKind, p.ext = extensions(r, byte(p.proto))
	}
	frame := p.frame()
	switch r.IntN(6) {
	case 0: // cut off, behind the header of IP: kernels run no program with less
		whole := 14 + 40
		if four {
			whole = 14 + 20
		}
		frame = frame[:whole+r.IntN(len(frame)-whole+1)]
	case 1: // a byte of the headers is another one
		frame[12+r.IntN(min(len(frame)-12, 80))] = byte(r.Uint32())
	}
	return frame
}

// extensions are some headers, the last of which says what follows.
func extensions(r *rand.Rand, last byte) (first byte, b []byte) {
	kinds := []byte{hopByHop, routing, fragmentation, authentication, destination}
	n := 1 + r.IntN(8)
	chain := make([]byte, 0, n+1)
	for range n {
		chain = append(chain, kinds[r.IntN(len(kinds))])
	}
	chain = append(chain, last)
	for i, kind := range chain[:n] {
		h := make([]byte, 8+8*r.IntN(3))
		h[0] = chain[i+1]
		switch kind {
		case fragmentation:
			h = h[:8]
			h[3] = []byte{0, 0, 1, 8}[r.IntN(4)]
		case authentication:
			h[1] = byte(len(h)/4 - 2)
		default:
			h[1] = byte(len(h)/8 - 1)
		}
		b = append(b, h...)
	}
	return chain[0], b
}

// TestRootPacketsAreReadAsTheModelDoes: whatever the headers of a packet are, the data path takes it for what it is. With FUZZTIME it goes on
// for so long with others (make fuzz-short).
func TestRootPacketsAreReadAsTheModelDoes(t *testing.T) {
	testutil.Privileged(t)
	m := newModelled(t)
	r := rand.New(rand.NewPCG(11, 9)) //nolint:gosec // the same packets each time
	ends := map[string]int{}
	for range 5_000 {
		frame := odd(r)
		end, bad := fate(frame, m.asleep, m.awake)
		if bad {
			end = "malformed"
		}
		ends[end]++
		if m.compare(t, frame); t.Failed() {
			return
		}
	}
	for _, end := range []string{eaten, held, notHeld, refused, steers, "malformed"} {
		if ends[end] < 30 {
			t.Errorf("%d of the packets end as %s, which shows little: %v", ends[end], end, ends)
		}
	}
	more, _ := time.ParseDuration(os.Getenv("FUZZTIME")) // none: 0
	r = rand.New(rand.NewPCG(rand.Uint64(), 0))          //nolint:gosec // others each time
	n := 0
	for until := time.Now().Add(more); time.Now().Before(until) && !t.Failed(); n++ {
		m.compare(t, odd(r))
	}
	if n > 0 {
		t.Logf("%d more packets in %s", n, more)
	}
}
