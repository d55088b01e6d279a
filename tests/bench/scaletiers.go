package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// scaleTierSites of each tier are measured, each once in a round: making a spare replica
// takes its time, and those of several sites are made at the same time.
const (
	scaleTierSites  = 8
	scaleTierRounds = 3
	scaleTierTarget = ", idle: never, scale: {max: 2, target: {conns: 4}%s}"
)

// scaleTier is a tier that the new replica of a site may come from.
type scaleTier struct {
	tier api.Tier
	spec string
	what string
}

func scaleTierList() []scaleTier {
	out := func(spare string) string { return scaleEnv + fmt.Sprintf(scaleTierTarget, spare) }
	return []scaleTier{
		{api.TierFrozen, out(", spare: frozen"), "a spare replica, thawed (`spare: frozen`)"},
		{api.TierPrepared, out(", spare: prepared"), "a spare container, which has to exec and listen (`spare: prepared`)"},
		{
			api.TierCheckpointed,
			scaleEnv + ", idle: 1s, tiers: [checkpointed], checkpoint: {clonable: true, warm: 1}, scale: {max: 2, target: {conns: 4}}",
			"a clone of a checkpoint, restored (`checkpoint: {clonable: true}`)",
		},
		{api.TierCold, out(""), "a container made for it"},
	}
}

// benchScaleOut measures the time from the kernel's event to the new replica's first
// connection, by the tier that it came from. Connections come all the time, so that the
// first one is there as soon as the replica can have it.
func benchScaleOut(ctx context.Context, o options, r *report) (err error) {
	s, program, err := openWorkers(ctx, o, "scale-tiers", "")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	r.printf("### From the kernel's event to the new replica's first connection\n\nBy the tier that the replica came from: %d sites each, scaled out %d times from one "+
		"replica to two by a burst of connections, one after the other; a new connection comes each half millisecond.\n\n"+
		"| the new replica came from | which is | measured | minimum | median | p95 | p99 |\n|---|---|---|---|---|---|---|\n", scaleTierSites, scaleTierRounds)
	medians := map[api.Tier]time.Duration{}
	for _, tier := range scaleTierList() {
		got, why, err := scaleFrom(ctx, s, program, tier)
		if err != nil {
			return fmt.Errorf("scaling out from %s: %w", tier.tier, err)
		}
		if len(got) == 0 {
			r.printf("| %s | %s | not: %s | | | | |\n", tier.tier, tier.what, why)
			continue
		}
		medians[tier.tier] = got.median()
		r.printf("| %s | %s | %d | %s | %s |\n", tier.tier, tier.what, len(got), got.row(), show(got.quantile(0.99)))
	}
	r.printf("\n")
	r.goal("a frozen spare replica has its first connection within a tenth of the time that a cold start takes",
		medians[api.TierFrozen] < medians[api.TierCold]/10, show(medians[api.TierFrozen])+" against "+show(medians[api.TierCold]))
	r.printf("\n")
	return nil
}

// scaleFrom scales sites out whose new replicas come from a tier. Where the node cannot
// have them there it says why.
func scaleFrom(ctx context.Context, s *stage.Stage, program string, tier scaleTier) (out series, why string, err error) {
	names := make([]string, scaleTierSites)
	addrs := make([]netip.AddrPort, scaleTierSites)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", tier.tier, i)
		if addrs[i], err = deployWith(ctx, s, program, names[i], tier.spec); err != nil {
			return nil, "", err
		}
	}
	for range scaleTierRounds {
		for i, name := range names { // all at first, so that what is to stand ready does so for all at the same time
			if _, _, err := s.Client.Get(ctx, "http://"+addrs[i].String()+"/"); err != nil {
				return nil, "", fmt.Errorf("%s: %w", name, err)
			}
		}
		for i, name := range names {
			if why, err := scaleReady(ctx, s, name, tier.tier); err != nil || why != "" {
				return nil, why, err
			}
			if _, err := s.API.Wake(ctx, name); err != nil {
				return nil, "", err
			}
			took, err := scaleOnce(ctx, s, name, addrs[i], tier.tier)
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w", name, err)
			}
			if took > 0 {
				out = append(out, took)
			}
		}
	}
	for _, name := range names {
		if err := s.API.Delete(ctx, name); err != nil {
			return nil, "", err
		}
	}
	return out, "", nil
}

// scaleReady waits until the site has what its next replica is to come from.
func scaleReady(ctx context.Context, s *stage.Stage, name string, tier api.Tier) (why string, err error) {
	waiting, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		site, err := s.API.Get(ctx, name)
		if err != nil {
			return "", err
		}
		switch tier {
		case api.TierCheckpointed:
			if site.Tier == api.TierCheckpointed && site.Phase == api.PhaseParked {
				return "", nil
			}
			if site.Decision != nil && site.Decision.Action == "not-checkpointed" {
				return site.Decision.Reason, nil
			}
		case api.TierCold:
			return "", nil
		default:
			for _, r := range site.Replicas {
				if r.Spare && (r.State == "asleep" || r.State == "prepared") {
					return "", nil
				}
			}
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			return "", fmt.Errorf("%s has nothing %s to be scaled out from", name, tier)
		}
	}
}

// scaleOnce scales the site out by a burst, has connections come until the new replica has
// got one, and puts the site back to where it was. It returns 0 if the replica came from elsewhere.
func scaleOnce(ctx context.Context, s *stage.Stage, name string, addr netip.AddrPort, tier api.Tier) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var last uint64
	for ev, err := range s.API.Events(ctx, api.EventOptions{Last: 1}) {
		if err != nil {
			return 0, err
		}
		last = ev.Seq
	}
	coming, stop := context.WithCancel(ctx)
	come := make(chan struct{})
	conns, err := burst(ctx, s, addr)
	go func() {
		defer close(come)
		trickle(coming, s, addr)
	}()
	defer func() {
		stop()
		<-come
		closeAll(conns)
	}()
	if err != nil {
		return 0, err
	}
	for ev, err := range s.API.Events(ctx, api.EventOptions{Site: name, Since: last, Follow: true}) {
		if err != nil {
			return 0, fmt.Errorf("wait for the new replica's first connection: %w", err)
		}
		if ev.Kind != "joined" {
			continue
		}
		if ns, ok := ev.Fields["delayNs"].(float64); ok && ev.Fields["from"] == string(tier) {
			took = time.Duration(ns)
		}
		break
	}
	stop()
	<-come
	if _, err := s.API.Park(ctx, name, true); err != nil {
		return 0, err
	}
	return took, nil
}

// trickle opens a connection each half millisecond, and lets it go.
func trickle(ctx context.Context, s *stage.Stage, addr netip.AddrPort) {
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		c, err := s.Client.Dial(ctx, "tcp", addr.String())
		if err == nil {
			c.Close()
		}
		<-tick.C
	}
}

// burst opens connections at once.
func burst(ctx context.Context, s *stage.Stage, addr netip.AddrPort) (conns []net.Conn, err error) {
	for range scaleBurst {
		c, err := s.Client.Dial(ctx, "tcp", addr.String())
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}
