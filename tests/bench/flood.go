package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/demo/stage"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/thread"
)

const (
	floodSites  = 1000
	floodRate   = 200_000 // SYNs a second
	floodRounds = 3       // of the neighbour, in turns
	floodFor    = 4 * time.Second

	floodWakeGoal      = 2.0 // times the quiet p99
	floodNeighbourGoal = 0.9 // of what it has beside a flood that reaches nobody
)

// floodResult is what a flood of SYNs with forged sources over sleeping sites did.
type floodResult struct {
	proof               string
	sent                series    // time for each million SYNs
	wakes               int       // of the sites that were flooded
	quiet, flooded      series    // a visitor's wake, to the first byte
	beside, inBlackhole []float64 // requests a second of a neighbour
}

func benchFlood(ctx context.Context, o options, r *report) error {
	var all []*floodResult
	for _, proof := range []string{"auto", "always"} {
		f := &floodResult{proof: proof}
		if err := f.measure(ctx, o); err != nil {
			return fmt.Errorf("wake.proof %s: %w", proof, err)
		}
		all = append(all, f)
	}
	reportFlood(r, all)
	return nil
}

func (f *floodResult) measure(ctx context.Context, o options) (err error) {
	s, err := open(ctx, o, "flood-"+f.proof, "wake: {source: {burst: 100000}, proof: "+f.proof+"}\n")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	visited, err := deploy(ctx, s, filepath.Join(o.bin, demoSite))
	if err != nil {
		return err
	}
	neighbour, err := deployWith(ctx, s, filepath.Join(o.bin, demoSite), "neighbour", "idle: never")
	if err != nil {
		return err
	}
	targets, err := applySlow(ctx, s)
	if err != nil {
		return err
	}
	c, err := newClient(s.Client.FD())
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.visit(neighbour); err != nil {
		return err
	}
	if f.quiet, err = coldVisits(ctx, s, c, visited, o.runs); err != nil {
		return err
	}
	link, err := netlink.LinkByName(stage.Uplink)
	if err != nil {
		return err
	}
	node := [6]byte(link.Attrs().HardwareAddr)
	mark, err := lastEvent(ctx, s)
	if err != nil {
		return err
	}
	err = f.during(s.Client.FD(), node, targets, func() (err error) {
		f.flooded, err = coldVisits(ctx, s, c, visited, o.runs)
		return err
	})
	if err != nil {
		return err
	}
	l := load{netns: s.Client.FD(), target: neighbour, request: requestFor("neighbour", 1000, true), conns: 8, reuse: true, warm: time.Second, measure: floodFor}
	for range floodRounds {
		for _, way := range []struct {
			to   [6]byte
			rate *[]float64
		}{{node, &f.beside}, {[6]byte{2, 0xbb, 0xbb}, &f.inBlackhole}} { // the other address is nobody's
			err := f.during(s.Client.FD(), way.to, targets, func() error {
				got, err := l.run(ctx)
				*way.rate = append(*way.rate, got.rate())
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	f.wakes, err = wakesSince(ctx, s, mark)
	return err
}

// applySlow applies the sites that are flooded: each takes two seconds to start.
func applySlow(ctx context.Context, s *stage.Stage) (targets []netip.Addr, err error) {
	var text strings.Builder
	for i := range floodSites {
		fmt.Fprintf(&text, "---\n{name: slow-%04d, image: %q, command: [/site], env: {MODE: slow, DELAY: 2s}, ports: [80/tcp], idle: 1h, tiers: [cold]}\n", i, "dir:"+s.File("root-hello"))
	}
	sites, err := spec.Parse("flood", strings.NewReader(text.String()))
	if err != nil {
		return nil, err
	}
	applied, err := s.API.Apply(ctx, sites, false)
	for _, a := range applied {
		targets = append(targets, a.Addresses[0])
	}
	return targets, err
}

// coldVisits visits the site so often, parked before each time.
func coldVisits(ctx context.Context, s *stage.Stage, c *client, addr netip.AddrPort, runs int) (series, error) {
	var out series
	for i := range runs + 2 {
		if _, err := s.API.Park(ctx, "hello", true); err != nil {
			return nil, err
		}
		time.Sleep(rest)
		v, err := c.visit(addr)
		if err != nil {
			return nil, err
		}
		if i >= 2 { // the first two warm the caches
			out = append(out, v.firstByte)
		}
	}
	return out, nil
}

// during does something while SYNs are sent to the targets by way of a link's address.
func (f *floodResult) during(netns int, mac [6]byte, targets []netip.Addr, do func() error) error {
	var stop atomic.Bool
	sender := make(chan outcome[int], 1)
	begin := time.Now()
	go func() {
		n := 0
		err := thread.Throwaway(func() (err error) {
			n, err = sendSYNs(netns, mac, targets, &stop)
			return err
		})
		sender <- outcome[int]{n, err}
	}()
	err := do()
	stop.Store(true)
	got := <-sender
	if got.value > 0 {
		f.sent = append(f.sent, time.Since(begin)*1_000_000/time.Duration(got.value))
	}
	return errors.Join(err, got.err)
}

// sendSYNs sends SYNs with forged sources, so many a second or as many as it can, until it is stopped.
func sendSYNs(netns int, mac [6]byte, targets []netip.Addr, stop *atomic.Bool) (n int, err error) {
	if err := unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
		return 0, fmt.Errorf("enter the client's network namespace: %w", err)
	}
	here, err := netlink.NewHandle() // of this thread's namespace
	if err != nil {
		return 0, err
	}
	defer here.Close()
	link, err := here.LinkByName("eth0")
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return 0, err
	}
	to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: 0x0008, Halen: 6} // ETH_P_IP, in the network's order
	copy(to.Addr[:], mac[:])
	frame := make([]byte, 54)
	copy(frame, mac[:])
	copy(frame[6:], link.Attrs().HardwareAddr)
	frame[12] = 0x08
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // nothing secret about it
	for begin := time.Now(); !stop.Load(); {
		due := int(time.Since(begin).Seconds() * floodRate)
		if n >= due {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		for range min(due-n, 256) {
			forgeSYN(frame[14:], random, targets[n%len(targets)])
			if err := unix.Sendto(fd, frame, 0, to); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return n, fmt.Errorf("send a SYN: %w", err)
			}
			n++
		}
	}
	return n, nil
}

// forgeSYN writes one from somebody in the Internet.
func forgeSYN(b []byte, random *rand.Rand, to netip.Addr) {
	clear(b)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[12:], 0x20000000|random.Uint32()>>4)
	dst := to.As4()
	copy(b[16:], dst[:])
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
	tcp := b[20:]
	binary.BigEndian.PutUint16(tcp, uint16(1024+random.IntN(64000)))
	binary.BigEndian.PutUint16(tcp[2:], 80)
	binary.BigEndian.PutUint32(tcp[4:], random.Uint32())
	tcp[12], tcp[13], tcp[14] = 5<<4, 2, 0xff // a SYN, and its window
}

func lastEvent(ctx context.Context, s *stage.Stage) (seq uint64, err error) {
	for ev, err := range s.API.Events(ctx, api.EventOptions{}) {
		if err != nil {
			return 0, err
		}
		seq = ev.Seq
	}
	return seq, nil
}

// wakesSince counts those of the flooded sites.
func wakesSince(ctx context.Context, s *stage.Stage, mark uint64) (n int, err error) {
	for ev, err := range s.API.Events(ctx, api.EventOptions{Since: mark}) {
		if err != nil {
			return 0, err
		}
		if ev.Kind == "waking" && strings.HasPrefix(ev.Site, "slow-") {
			n++
		}
	}
	return n, nil
}

func reportFlood(r *report, all []*floodResult) {
	r.printf("## Flood of forged SYNs\n\n%d parked sites, each of which takes two seconds to start, get SYNs to port 80 with sources out of 268 million, %d a second or as many as one core can send. "+
		"Meanwhile a visitor wakes a site (parked before each visit), and then a neighbour that runs is asked by 8 connections; for comparison the same sender sends to a link address "+
		"that nobody has. All in one run, the neighbour's ways in turns, %d rounds of %s.\n\n", floodSites, floodRate, floodRounds, floodFor)
	r.printf("| `wake.proof` | SYNs a second | wakes of the %d sites | visitor's wake: p50, p99 quiet | p50, p99 under the flood | neighbour, requests/s beside a flood in a blackhole | beside the flood |\n|---|---|---|---|---|---|---|\n", floodSites)
	for _, f := range all {
		r.printf("| `%s` | %.0f | %d | %s, %s | %s, %s | %.0f | %.0f |\n", f.proof, 1e6/f.sent.median().Seconds(), f.wakes,
			show(f.quiet.median()), show(f.quiet.quantile(0.99)), show(f.flooded.median()), show(f.flooded.quantile(0.99)), medianOf(f.inBlackhole), medianOf(f.beside))
	}
	r.printf("\n`auto` lets 64 SYNs wake on trust before it asks for proofs; each of them wakes one site for `wake.unused`.\n\n")
	for _, f := range all {
		times := ratio(f.flooded.quantile(0.99), f.quiet.quantile(0.99))
		left := medianOf(ratios(f.beside, f.inBlackhole))
		if f.proof == "always" {
			r.goal("no site is woken by forged SYNs (`always`)", f.wakes == 0, fmt.Sprint(f.wakes))
		}
		r.goal(fmt.Sprintf("a visitor's wake at most %.0f times the quiet p99 (`%s`)", floodWakeGoal, f.proof), times <= floodWakeGoal, fmt.Sprintf("%.2f", times))
		r.goal(fmt.Sprintf("a neighbour keeps at least %.1f of its requests (`%s`)", floodNeighbourGoal, f.proof), left >= floodNeighbourGoal, fmt.Sprintf("%.2f", left))
	}
	r.printf("\n")
}
