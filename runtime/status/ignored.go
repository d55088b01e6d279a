package status

import (
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/answer"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Ignored is what the data path knows of sources that are no visitors.
type Ignored interface {
	SiteOf(bpf.Listener) (bpf.SiteID, bool)
	IgnoredPackets() (map[bpf.SiteID]bpf.IgnoredPackets, error)
	IgnoredPacketsOf(bpf.SiteID) (bpf.IgnoredPackets, error)
}

// rulesFor is what holds for a site by its spec and the configuration.
func (s *Status) rulesFor(e *life.Site) spec.Ignored {
	var own spec.Ignored
	e.With(func(*life.Live) {
		if e.Ignore != nil {
			own = *e.Ignore
		}
	})
	return own.Over(s.host.Cfg.Ignore)
}

// ignoredOf is nil for a site that ignores nobody and has ignored nobody before.
func (s *Status) ignoredOf(e *life.Site) (*api.Ignored, error) {
	n, err := s.ignored.IgnoredPacketsOf(e.ID)
	if err != nil {
		return nil, err
	}
	rules := s.rulesFor(e)
	if len(rules.Sources) == 0 && n == (bpf.IgnoredPackets{}) {
		return nil, nil
	}
	out := &api.Ignored{Answer: rules.Answer, Asleep: n.Asleep, Awake: n.Awake}
	if rules.Answer == spec.IgnoredHTTP {
		out.Status = rules.Status
	}
	return out, nil
}

// AnswerIgnored is what an ignored source gets that asks for a site at an address.
func (s *Status) AnswerIgnored(at netip.AddrPort) (answer.Answer, bool) {
	id, there := s.ignored.SiteOf(bpf.Listener{Addr: at.Addr(), Port: at.Port(), Proto: bpf.TCP})
	e := s.table.ByID(id)
	if !there || e == nil {
		return answer.Answer{}, false
	}
	rules := s.rulesFor(e)
	out := answer.Answer{HTTP: rules.Answer == spec.IgnoredHTTP, Status: rules.Status}
	if out.HTTP {
		e.With(func(l *life.Live) { out.Tier = string(tierOf(l)) })
	}
	return out, true
}

var descSiteIgnored = siteMetric("ignored_total", "Packets of ignored sources that began something or would have woken the site, by whether it was asleep or awake.", "while")

// collectIgnored is of sites that sleep, too.
func (c *collector) collectIgnored(to chan<- prometheus.Metric) {
	all, err := c.status.ignored.IgnoredPackets()
	if err != nil {
		to <- prometheus.NewInvalidMetric(descSiteIgnored, err)
		return
	}
	for id, n := range all {
		if e := c.status.table.ByID(id); e != nil {
			to <- counter(descSiteIgnored, float64(n.Asleep), e.Name, "asleep")
			to <- counter(descSiteIgnored, float64(n.Awake), e.Name, "awake")
		}
	}
}
