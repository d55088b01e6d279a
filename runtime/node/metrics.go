package node

import (
	"context"
	"fmt"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/fcnode/fcnode/runtime/api"
)

// Metrics implements api.Backend. Nothing is counted for it in between: the
// values are read when they are asked for. docs/metrics.md has the names.
func (n *Node) Metrics(ctx context.Context, w io.Writer) error {
	registry := prometheus.NewRegistry()
	if err := registry.Register(&collector{node: n, ctx: ctx}); err != nil {
		return fmt.Errorf("collect the metrics: %w", err)
	}
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("collect the metrics: %w", err)
	}
	text := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := text.Encode(f); err != nil {
			return fmt.Errorf("write the metrics: %w", err)
		}
	}
	return nil
}

// collector reads the node once.
type collector struct {
	node *Node
	ctx  context.Context //nolint:containedctx // of the one call that it is made for
}

// The metrics of the node and of each site of which something runs.
var (
	descSites    = metric("sites", "Sites by the tier of their most awake replica.", "tier")
	descReplicas = metric("replicas", "Replicas by tier.", "tier")
	descPackets  = metric("packets_total", "Packets of the data path by what became of them.", "end")

	descSiteReplicas = siteMetric("replicas", "Replicas of the site by state.", "state")
	descSiteConns    = siteMetric("connections", "Connections that are open now.")
	descSiteOpened   = siteMetric("connections_total", "Connections since the replicas that run were started.")
	descSiteMemory   = siteMetric("memory_bytes", "Memory of the site's replicas.")
)

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("fcnode_"+name, help, labels, nil)
}

func siteMetric(name, help string, labels ...string) *prometheus.Desc {
	return metric("site_"+name, help, append([]string{"site"}, labels...)...)
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descSites, descReplicas, descPackets, descSiteReplicas, descSiteConns, descSiteOpened, descSiteMemory,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	awake, err := c.node.List(c.ctx, api.ListOptions{Awake: true})
	if err != nil {
		to <- prometheus.NewInvalidMetric(descSites, err)
		return
	}
	sites, replicas := map[string]int{}, map[string]int{}
	for i := range awake {
		s := &awake[i]
		sites[string(s.Tier)]++
		for _, r := range s.Replicas {
			replicas[string(r.Tier)]++
		}
		collectSite(to, s)
	}
	sites[string(api.TierCold)] += len(c.node.all()) - len(awake)
	for tier, count := range sites {
		to <- gauge(descSites, float64(count), tier)
	}
	for tier, count := range replicas {
		to <- gauge(descReplicas, float64(count), tier)
	}
	packets, err := c.node.dp.Counters()
	if err != nil {
		to <- prometheus.NewInvalidMetric(descPackets, err)
		return
	}
	for end, count := range packets {
		to <- counter(descPackets, float64(count), end)
	}
}

func collectSite(to chan<- prometheus.Metric, s *api.Site) {
	states := map[string]int{}
	for _, r := range s.Replicas {
		states[r.State]++
	}
	for state, count := range states {
		to <- gauge(descSiteReplicas, float64(count), s.Name, state)
	}
	to <- gauge(descSiteConns, float64(s.Conns.Now), s.Name)
	to <- counter(descSiteOpened, float64(s.Conns.Total), s.Name)
	if s.Usage != nil && s.Usage.Memory != nil {
		to <- gauge(descSiteMemory, float64(*s.Usage.Memory), s.Name)
	}
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}
