package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"
)

// raw is a struct as the kernel writes it.
func raw[T any](t testing.TB, v T) []byte {
	t.Helper()
	b, err := binary.Append(nil, binary.NativeEndian, v)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != int(unsafe.Sizeof(v)) {
		t.Fatalf("%T: %d bytes, want %d", v, len(b), unsafe.Sizeof(v))
	}
	return b
}

// Keys are in network byte order, byte by byte, as in a packet.
func TestListenerKey(t *testing.T) {
	for _, c := range []struct {
		listener Listener
		want     []byte
	}{
		{
			Listener{netip.MustParseAddr("10.77.1.2"), 0x1234, TCP},
			[]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 77, 1, 2, 0x12, 0x34, 6, 0},
		},
		{
			Listener{netip.MustParseAddr("fd77:fc::102"), 80, UDP},
			[]byte{0xfd, 0x77, 0, 0xfc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 80, 17, 0},
		},
		{
			Listener{netip.MustParseAddr("::ffff:10.77.1.2"), 80, TCP}, // the same as the plain one
			[]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 77, 1, 2, 0, 80, 6, 0},
		},
	} {
		if got := raw(t, c.listener.key()); !bytes.Equal(got, c.want) {
			t.Errorf("%s: % x, want % x", c.listener, got, c.want)
		}
	}
}

func TestAddressesComeBack(t *testing.T) {
	for _, s := range []string{"10.77.0.1", "255.255.255.255", "0.0.0.0", "fd77:fc::1", "::", "::1", "2001:db8:1:2:3:4:5:6"} {
		a := netip.MustParseAddr(s)
		if got := fromAddr(toAddr(a)); got != a {
			t.Errorf("%s came back as %s", a, got)
		}
	}
	if got := toAddr(netip.Addr{}); got != (dpFcAddr{}) {
		t.Errorf("no address: %v, want that of ::", got)
	}
}

func TestListenerString(t *testing.T) {
	for want, l := range map[string]Listener{
		"10.77.0.1:80/tcp": {netip.MustParseAddr("10.77.0.1"), 80, TCP},
		"[fd77::1]:53/udp": {netip.MustParseAddr("fd77::1"), 53, UDP},
	} {
		if got := l.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestParseEvent(t *testing.T) {
	b := raw(t, dpFcEvent{Ns: 1, Kind: 2, Site: 3, Replica: 4, Ready4: 5, Ready6: 6})
	want := Event{Time: 1, Kind: EventEstablished, Site: 3, Replica: 4, Ready4: 5, Ready6: 6}
	for _, rec := range [][]byte{b, append(b, 0, 0, 0)} { // a newer program may say more
		if got, err := parseEvent(rec); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for n := range b {
		if got, err := parseEvent(b[:n]); err == nil || got != (Event{}) {
			t.Errorf("%d bytes: %+v, %v, want an error", n, got, err)
		}
	}
}

func heldRecord(t testing.TB, size, says int) []byte {
	t.Helper()
	b := raw(t, dpFcHeld{
		Ns: 1, Site: 2, Len: uint32(says), Client: toAddr(netip.MustParseAddr("192.0.2.1")), Vip: toAddr(netip.MustParseAddr("10.77.0.1")),
		ClientPort: swap16(40000), VipPort: swap16(80), Proto: uint8(TCP), Seq: 0xdeadbeef,
	})
	for i := range size {
		b = append(b, byte(i))
	}
	return b
}

func TestParseHeld(t *testing.T) {
	rec := heldRecord(t, 256, 60)
	got, err := parseHeld(rec)
	if err != nil {
		t.Fatal(err)
	}
	if got.Time != 1 || got.Site != 2 || got.Proto != TCP || got.Seq != 0xdeadbeef ||
		got.Client != netip.MustParseAddrPort("192.0.2.1:40000") || got.VIP != netip.MustParseAddrPort("10.77.0.1:80") {
		t.Errorf("got %+v", got)
	}
	want := bytes.Clone(rec[heldHeader : heldHeader+60])
	clear(rec) // the reader uses its buffer again
	if !bytes.Equal(got.Data, want) {
		t.Errorf("data % x, want a copy of % x", got.Data, want)
	}
}

func TestParseHeldThatLies(t *testing.T) {
	for _, c := range []struct{ size, says int }{{0, 1}, {60, 61}, {256, 257}, {256, 1 << 31}, {256, 1<<32 - 1}} {
		if got, err := parseHeld(heldRecord(t, c.size, c.says)); err == nil {
			t.Errorf("%d bytes that say they are %d: %d taken", c.size, c.says, len(got.Data))
		}
	}
	whole := heldRecord(t, 0, 0)
	if got, err := parseHeld(whole); err != nil || len(got.Data) != 0 {
		t.Errorf("an empty packet: %+v, %v", got, err)
	}
	for n := range whole {
		if _, err := parseHeld(whole[:n]); err == nil {
			t.Errorf("a header of %d bytes was taken", n)
		}
	}
}

func FuzzParseHeld(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(heldRecord(f, 60, 60))
	f.Add(heldRecord(f, 60, 61))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseHeld(b)
		if err != nil {
			return
		}
		if len(p.Data) > len(b)-heldHeader || !bytes.Equal(p.Data, b[heldHeader:heldHeader+len(p.Data)]) {
			t.Errorf("%d bytes of data out of a record of %d", len(p.Data), len(b))
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(raw(f, dpFcEvent{Ns: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, err := parseEvent(b)
		if (err == nil) != (len(b) >= int(unsafe.Sizeof(dpFcEvent{}))) {
			t.Errorf("%d bytes: %+v, %v", len(b), ev, err)
		}
	})
}
