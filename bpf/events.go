package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// EventKind says what a replica's sockets did.
type EventKind uint32

// The events of the event ring.
const (
	EventReady       = EventKind(dpFcEventKindFC_EVENT_READY) // who listens has changed, see TakePorts
	EventEstablished = EventKind(dpFcEventKindFC_EVENT_ESTABLISHED)
	EventFirstByte   = EventKind(dpFcEventKindFC_EVENT_FIRST_BYTE)
	EventKnock       = EventKind(dpFcEventKindFC_EVENT_KNOCK) // see SetAsleep
	EventEmpty       = EventKind(dpFcEventKindFC_EVENT_EMPTY) // see WatchEmpty
)

// Event is one of them.
type Event struct {
	Time           uint64 // CLOCK_MONOTONIC, ns
	Kind           EventKind
	Site           SiteID
	Replica        ReplicaID
	Ready4, Ready6 uint32 // bit per port, after the event
}

// Flight is how many datagrams of a flow are held at once, as fast as they come.
const Flight = int(dpFcHoldMostFC_HOLD_FLIGHT)

// HeldPacket is a packet that was taken off the wire because its site had no
// replica ready: the wake event and what is to be released in one.
type HeldPacket struct {
	Time        uint64 // CLOCK_MONOTONIC, ns
	Site        SiteID
	Client, VIP netip.AddrPort
	Proto       Proto
	Seq         uint32 // TCP: sequence number of the SYN; of what has Proven set one that a retransmission has, too
	Proven      bool   // it is no SYN: it ends a handshake that the data path has begun by a cookie, or follows that
	Data        []byte // the whole Ethernet frame
}

// Now is the clock of all times here: CLOCK_MONOTONIC in nanoseconds.
func Now() uint64 {
	var ts unix.Timespec
	// cannot fail: the clock exists and the pointer is good
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return uint64(ts.Nano())
}

// EventReader reads the event ring. One reader at a time.
type EventReader struct {
	r   *ringbuf.Reader
	rec ringbuf.Record
}

// Events opens the event ring; what was not read by an earlier daemon is still
// there.
func (d *Datapath) Events() (*EventReader, error) {
	r, err := ringbuf.NewReader(d.objs.FcEventRing)
	if err != nil {
		return nil, fmt.Errorf("open the event ring: %w", err)
	}
	return &EventReader{r: r}, nil
}

// Read waits for the next event. After Close it returns os.ErrClosed.
func (e *EventReader) Read() (Event, error) {
	if err := e.r.ReadInto(&e.rec); err != nil {
		return Event{}, err
	}
	return parseEvent(e.rec.RawSample)
}

// Close ends a waiting Read.
func (e *EventReader) Close() error { return e.r.Close() }

func parseEvent(b []byte) (Event, error) {
	var raw dpFcEvent
	if len(b) < int(unsafe.Sizeof(raw)) {
		return Event{}, fmt.Errorf("event of %d bytes, want %d: the program and this daemon differ", len(b), unsafe.Sizeof(raw))
	}
	if _, err := binary.Decode(b, binary.NativeEndian, &raw); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	return Event{
		Time: raw.Ns, Kind: EventKind(raw.Kind), Site: SiteID(raw.Site), Replica: ReplicaID(raw.Replica),
		Ready4: raw.Ready4, Ready6: raw.Ready6,
	}, nil
}

// HeldReader reads the ring of held packets. One reader at a time.
type HeldReader struct {
	r   *ringbuf.Reader
	rec ringbuf.Record
}

// Held opens the ring of held packets; what came while no daemon ran is still
// there.
func (d *Datapath) Held() (*HeldReader, error) {
	r, err := ringbuf.NewReader(d.objs.FcHeldRing)
	if err != nil {
		return nil, fmt.Errorf("open the ring of held packets: %w", err)
	}
	return &HeldReader{r: r}, nil
}

// Read waits for the next held packet; its Data is the caller's to keep. After
// Close it returns os.ErrClosed.
func (h *HeldReader) Read() (HeldPacket, error) {
	if err := h.r.ReadInto(&h.rec); err != nil {
		return HeldPacket{}, err
	}
	return parseHeld(h.rec.RawSample)
}

// Close ends a waiting Read.
func (h *HeldReader) Close() error { return h.r.Close() }

const heldHeader = int(unsafe.Offsetof(dpFcHeldSmall{}.Data))

func parseHeld(b []byte) (HeldPacket, error) {
	var raw dpFcHeld
	if len(b) < heldHeader {
		return HeldPacket{}, fmt.Errorf("held packet of %d bytes, want at least %d: the program and this daemon differ", len(b), heldHeader)
	}
	if _, err := binary.Decode(b, binary.NativeEndian, &raw); err != nil {
		return HeldPacket{}, fmt.Errorf("decode held packet: %w", err)
	}
	data := b[heldHeader:]
	if int(raw.Len) > len(data) {
		return HeldPacket{}, fmt.Errorf("held packet says %d bytes, the record has %d", raw.Len, len(data))
	}
	return HeldPacket{
		Time: raw.Ns, Site: SiteID(raw.Site), Proto: Proto(raw.Proto), Seq: raw.Seq, Proven: raw.Proof != 0,
		Client: netip.AddrPortFrom(fromAddr(raw.Client), swap16(raw.ClientPort)),
		VIP:    netip.AddrPortFrom(fromAddr(raw.Vip), swap16(raw.VipPort)),
		Data:   append([]byte(nil), data[:raw.Len]...),
	}, nil
}
