package life

import (
	"testing"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/site"
)

func TestPressureOf(t *testing.T) {
	for text, want := range map[string]float64{
		"some avg10=31.25 avg60=3.00 avg300=1.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n": 31.25,
		"some avg10=0.00 avg60=9.00 avg300=1.00 total=12\n":                                                  0,
		"": 0, "nonsense": 0, "some avg10=x": 0,
	} {
		if got := pressureOf(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// TestPlaced: who is found out of the site's set, though others are in it, serves nobody.
func TestPlaced(t *testing.T) {
	set := func(in ...bpf.SiteReplica) bpf.Site { return bpf.Site{Replicas: in} }
	for what, c := range map[string]struct {
		set  bpf.Site
		want site.Found
	}{
		"serves":                      {set(bpf.SiteReplica{ID: 7}, bpf.SiteReplica{ID: 8}), site.Found{}},
		"drains":                      {set(bpf.SiteReplica{ID: 7, Draining: true}, bpf.SiteReplica{ID: 8}), site.Found{Draining: true}},
		"a spare one":                 {set(bpf.SiteReplica{ID: 8}), site.Found{Spare: true}},
		"the site sleeps":             {set(), site.Found{}},
		"only one that drains serves": {set(bpf.SiteReplica{ID: 8, Draining: true}), site.Found{}},
	} {
		var got site.Found
		if placed(&got, 7, c.set); got != c.want {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
}
