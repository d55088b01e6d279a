package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	openload "github.com/fcnode/fcnode/tests/load"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootLoadIsSeen: what visitors did is what top, get and the metrics say, to the last request.
func TestRootLoadIsSeen(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "metrics: {listen: '127.0.0.1:9400'}\n"})
	s := n.deploy("shop", "scale: {max: 2, target: {conns: 1000, latency: 10s}}")
	n.deploy("asleep")
	visitor := n.outside.keep(s.addr4(80))
	const requests = 40
	for range requests {
		if err := visitor.ask(); err != nil {
			t.Fatal(err)
		}
	}
	var site api.Site
	testutil.WaitFor(t, patience, "the requests to be counted", func() error {
		var frame struct{ Sites []api.Site }
		if err := json.Unmarshal([]byte(n.cli("top", "--once", "--json")), &frame); err != nil {
			return err
		}
		if len(frame.Sites) != 1 || frame.Sites[0].Load == nil {
			return fmt.Errorf("awake are %+v", frame.Sites)
		}
		site = frame.Sites[0]
		if got := site.Load.Requests; got != requests {
			return fmt.Errorf("%d requests are counted, want %d", got, requests)
		}
		return nil
	})
	if site.Name != "shop" || site.Conns.Now != 1 || site.Conns.Total != 1 || site.ReplicasMax != 2 || site.Load.NoTurns != 0 {
		t.Errorf("top: %+v", site)
	}
	if l := site.Load; l.BytesIn < requests*40 || l.BytesOut < requests*10 {
		t.Errorf("bytes: %+v", l)
	}
	says(t, "top", n.cli("top", "--once"), "shop", "1/2", "NOW/MAX")
	says(t, "get", n.cli("get", "shop"), "40 in total", "conns 1", "latency 10.0s")
	says(t, "get as JSON", n.cli("get", "shop", "-o", "json"), `"triggers"`, `"requests": 40`)
	says(t, "metrics", n.cli("metrics"), `fcnode_site_requests_total{site="shop"} 40`, `fcnode_sites{tier="cold"} 1`, `fcnode_site_connections_total{site="shop"} 1`)
	resp, err := n.local.http(false).Get("http://127.0.0.1:9400/metrics")
	body, err := read(resp, err)
	if err != nil || !strings.Contains(body, `fcnode_site_requests_total{site="shop"} 40`) {
		t.Errorf("the metrics on their own address: %v\n%s", err, body)
	}
	resp, err = n.local.http(false).Get("http://127.0.0.1:9400/v1/sites")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("the API on the metrics' address: %s", resp.Status)
	}
}

// TestRootCirculateByHand: the command waits until a fresh replica has taken over, and says when there is nothing to replace.
func TestRootCirculateByHand(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "circulate: {drain: 1h}")
	says(t, "circulating a parked site", n.cliFails("circulate", "shop"), "it is parked", "fcnode wake shop")
	visitor := n.outside.keep(s.addr4(80))
	before := s.ready(1)[0]
	says(t, "circulate", n.cli("circulate", "--wait", "shop"), "shop  circulated  running after")
	if now := s.ready(1)[0]; now.ID == before.ID {
		t.Errorf("%s is still the one that takes connections", now.ID)
	}
	if err := visitor.ask(); err != nil {
		t.Errorf("who was there before: %v", err)
	}
}

// TestRootScaleSurge: the kernel learns what load is normal for a site, and tells when it changes, though no target is near.
func TestRootScaleSurge(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "scale: {max: 2, target: {conns: 10000}}")
	s.wake()
	surge := func() (out api.Trigger) {
		for _, trigger := range s.get().Triggers {
			if trigger.Kind == api.TriggerSurge {
				out = trigger
			}
		}
		return out
	}
	var longest time.Duration
	testutil.WaitFor(t, 3*patience, "what is normal", func() error {
		res, err := openload.Run(t.Context(), openload.Config{
			URL: "http://" + s.addr4(80).String() + "/bytes?n=10", Dial: n.outside.dial, Timeout: testutil.Timeout(patience),
		}, openload.Evenly(openload.Constant(20), time.Second))
		if err != nil || res.Errors() > 0 {
			t.Fatalf("%v; failed: %v", err, res.Failed)
		}
		longest = max(longest, res.Quantile(1))
		if surge().Threshold == 0 {
			return fmt.Errorf("the kernel watches %+v", s.get().Triggers)
		}
		return nil
	})
	before := surge()
	// Those who should have come while the machine stood still come together: that load was not steady.
	if before.Fired > 0 && longest < 50*time.Millisecond {
		t.Errorf("a steady load is a surge: %+v", before)
	}
	testutil.WaitFor(t, 3*patience, "the surge", func() error {
		leave(s.crowd(300)) // who connect only, as fast as the machine can
		if now := surge(); now.Fired == before.Fired {
			return fmt.Errorf("the kernel has not told: %+v", now)
		}
		return nil
	})
}
