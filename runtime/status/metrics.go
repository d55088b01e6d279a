package status

import (
	"context"
	"fmt"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/life"
)

// State implements api.Backend.
func (s *Status) State(_ context.Context, w io.Writer) error { return s.host.Store.Export(w) }

// Metrics implements api.Backend. Nothing is counted for it in between: the
// values are read when they are asked for. docs/metrics.md has the names.
func (s *Status) Metrics(ctx context.Context, w io.Writer) error {
	registry := prometheus.NewRegistry()
	for _, c := range append(s.host.Scale.Metrics.Collectors(), &collector{status: s, ctx: ctx}) {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("collect the metrics: %w", err)
		}
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
	status *Status
	ctx    context.Context //nolint:containedctx // of the one call that it is made for
}

// The metrics of the node and of each site of which something runs.
var (
	descSites    = metric("sites", "Sites by the tier of their most awake replica.", "tier")
	descReplicas = metric("replicas", "Replicas by tier.", "tier")
	descBad      = metric("quarantined_total", "What the daemon has found damaged since its start, and goes on without.", "what")
	descDenied   = metric("denied_prefixes", "Prefixes of sources that are denied.")
	descPackets  = metric("packets_total", "Packets of the data path by what became of them.", "end")

	descClassRequests = metric("class_requests_total", "Requests of the class's sites whose sleep is planned.", "class")
	descClassLate     = metric("class_late_total", "Of these, those that waited for longer than the class allows.", "class")
	descClassShare    = metric("class_late_share", "What part was late lately, by about a day.", "class")
	descClassPrice    = metric("class_price", "What a second of a visitor's waiting is worth, in GiB·s of memory.", "class")
	descHeld          = metric("sites_memory_bytes", "Memory that all sites hold, where memory.sites bounds it.")
	descBudget        = metric("sites_memory_budget_bytes", "What they may hold: memory.sites.")
	descMemoryPrice   = metric("memory_price", "What a GiB of memory costs under memory.sites: 1 as usual.")
	descNoMemory      = metric("starts_without_memory_total", "Starts that were refused because the node had no memory for them.")
	descAhead         = metric("wakes_ahead_total", "Wakes ahead of visits by what came of them: came (somebody did), nobody, failed (to start), skipped (no room).", "outcome")
	descEvicted       = metric("evictions_total", "Sleeping replicas that were sent deeper because all sites held too much, or others were to start.")

	descSiteReplicas = siteMetric("replicas", "Replicas of the site by state.", "state")
	descSiteConns    = siteMetric("connections", "Connections that are open now.")
	descSiteOwn      = siteMetric("own_connections", "Connections to others that the site's sleeping replicas hold.")
	descSiteOpened   = siteMetric("connections_total", "Connections that were accepted.")
	descSiteMemory   = siteMetric("memory_bytes", "Memory of the site's replicas.")
	descSiteCPU      = siteMetric("cpu_cores", "CPU time that the site's replicas use, in cores.")
	descSitePIDs     = siteMetric("pids", "Processes and threads of the site's replicas.")
	descSiteLimit    = siteMetric("limit", "Limit of each replica that holds now, in cores, bytes and tasks.", "resource")
	descSiteLimitMax = siteMetric("limit_max", "The most that the limit of each replica may be.", "resource")
	descSiteIO       = siteMetric("io_limit", "Limit of each replica for a device that holds now, in bytes or operations a second.", "device", "rate")
	descSiteIOMax    = siteMetric("io_limit_max", "The most that the limit for a device may be.", "device", "rate")

	descSiteDisk      = siteMetric("disk_bytes", "What the site keeps on disk, of what limits.disk counts.")
	descSiteFiles     = siteMetric("disk_inodes", "Files, folders and links of that.")
	descSiteDiskMost  = siteMetric("disk_limit_bytes", "The most that it may keep (limits.disk.bytes).")
	descSiteFilesMost = siteMetric("disk_limit_inodes", "The most files, folders and links (limits.disk.inodes).")

	descSiteRequests = siteMetric("requests_total", "Requests, by turn-taking.")
	descSiteNoTurns  = siteMetric("connections_no_turns_total", "Connections that do not take turns, whose requests are not counted.")
	descSiteRefused  = siteMetric("connections_refused_total", "Connections that were refused.")
	descSiteFailed   = siteMetric("connections_failed_total", "Connections that a reset ended.")
	descSiteBytes    = siteMetric("bytes_total", "Payload by direction.", "direction")
	descSiteLasting  = siteMetric("udp_flows", "Flows of UDP that last now (udpIdle).")
	descSiteFlows    = siteMetric("udp_flows_total", "Client addresses and ports that sent datagrams.")
	descSiteQueue    = siteMetric("accept_queue", "Connections that wait to be accepted, in the worst replica.")
	descSiteLatency  = siteMetric("latency_seconds", "Time to the first byte of answers, in buckets of the kernel's.")
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
		descSites, descReplicas, descBad, descDenied, descPackets, descClassRequests, descClassLate, descClassShare, descClassPrice,
		descHeld, descBudget, descAhead, descMemoryPrice, descEvicted, descNoMemory, descSiteReplicas, descSiteConns, descSiteOwn, descSiteOpened, descSiteMemory,
		descSiteCPU, descSitePIDs, descSiteLimit, descSiteLimitMax, descSiteIO, descSiteIOMax, descSiteDisk, descSiteFiles, descSiteDiskMost, descSiteFilesMost, descSiteRequests, descSiteNoTurns, descSiteRefused, descSiteFailed,
		descSiteBytes, descSiteFlows, descSiteLasting, descSiteQueue, descSiteLatency, descSiteIgnored,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	c.status.host.Guard(nil, func() { c.collect(to) })
}

func (c *collector) collect(to chan<- prometheus.Metric) {
	awake, err := c.status.List(c.ctx, api.ListOptions{Awake: true})
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
		c.collectGuarded(to, s)
	}
	sites[string(api.TierCold)] += c.status.table.Count() - len(awake)
	for tier, count := range sites {
		to <- gauge(descSites, float64(count), tier)
	}
	for tier, count := range replicas {
		to <- gauge(descReplicas, float64(count), tier)
	}
	for what, count := range c.status.host.Quarantine.Counted() {
		to <- counter(descBad, float64(count), what)
	}
	to <- gauge(descDenied, float64(c.status.denied()))
	c.collectIgnored(to)
	c.collectClasses(to)
	packets, err := c.status.host.Data.Counters()
	if err != nil {
		to <- prometheus.NewInvalidMetric(descPackets, err)
		return
	}
	for end, count := range packets {
		to <- counter(descPackets, float64(count), end)
	}
}

// collectClasses gives what plans go by.
func (c *collector) collectClasses(to chan<- prometheus.Metric) {
	h := c.status.host
	for name, s := range h.Plans.Prices() {
		late, _ := s.Share()
		to <- counter(descClassRequests, float64(s.Requests), name)
		to <- counter(descClassLate, float64(s.Late), name)
		to <- gauge(descClassShare, late, name)
		to <- gauge(descClassPrice, s.Visit(), name)
	}
	holds, evicted := h.Budget.State()
	to <- counter(descEvicted, float64(evicted))
	ahead := h.Ahead.Counts()
	for outcome, n := range map[string]uint64{"came": ahead.Came, "nobody": ahead.Nobody, "failed": ahead.Failed, "skipped": ahead.Skipped} {
		to <- counter(descAhead, float64(n), outcome)
	}
	to <- counter(descNoMemory, float64(h.Admission.Refused()))
	if budget := h.Cfg.Memory.Sites; budget > 0 {
		to <- gauge(descHeld, float64(holds))
		to <- gauge(descBudget, float64(budget))
		to <- gauge(descMemoryPrice, h.Plans.Memory())
	}
}

// collectGuarded gives a site's metrics. They are collected on a goroutine of the
// library's, where a panic would end the daemon.
func (c *collector) collectGuarded(to chan<- prometheus.Metric, s *api.Site) {
	e, err := c.status.table.ByName(s.Name)
	if err != nil {
		return // deleted meanwhile
	}
	c.status.host.Guard(e, func() {
		collectSite(to, s)
		collectLatency(to, e)
	})
}

func collectSite(to chan<- prometheus.Metric, s *api.Site) {
	states := map[string]int{}
	for _, r := range s.Replicas {
		if r.Spare {
			states["spare"]++
			continue
		}
		states[r.State]++
	}
	for state, count := range states {
		to <- gauge(descSiteReplicas, float64(count), s.Name, state)
	}
	to <- gauge(descSiteConns, float64(s.Conns.Now), s.Name)
	to <- gauge(descSiteLasting, float64(s.Flows), s.Name)
	to <- gauge(descSiteOwn, float64(s.OwnConns), s.Name)
	to <- counter(descSiteOpened, float64(s.Conns.Total), s.Name)
	collectUse(to, s)
	collectLoad(to, s)
}

func collectUse(to chan<- prometheus.Metric, s *api.Site) {
	if u := s.Usage; u != nil {
		if u.Memory != nil {
			to <- gauge(descSiteMemory, float64(*u.Memory), s.Name)
		}
		if u.CPU != nil {
			to <- gauge(descSiteCPU, *u.CPU, s.Name)
		}
		if u.PIDs != nil {
			to <- gauge(descSitePIDs, float64(*u.PIDs), s.Name)
		}
		if u.Disk != nil && u.Inodes != nil {
			to <- gauge(descSiteDisk, float64(*u.Disk), s.Name)
			to <- gauge(descSiteFiles, float64(*u.Inodes), s.Name)
		}
	}
	if l := s.Limits.Disk; l != nil && l.Bytes > 0 {
		to <- gauge(descSiteDiskMost, float64(l.Bytes), s.Name)
	}
	if l := s.Limits.Disk; l != nil && l.Inodes > 0 {
		to <- gauge(descSiteFilesMost, float64(l.Inodes), s.Name)
	}
	limit := func(resource string, now, most float64) {
		to <- gauge(descSiteLimit, now, s.Name, resource)
		to <- gauge(descSiteLimitMax, most, s.Name, resource)
	}
	if l := s.Limits.CPU; l != nil && l.Now > 0 {
		limit("cpu", l.Now, l.Max)
	}
	if l := s.Limits.Memory; l != nil && l.Now > 0 {
		limit("memory", float64(l.Now), float64(l.Max))
	}
	if l := s.Limits.PIDs; l != nil {
		limit("pids", float64(l.Now), float64(l.Max))
	}
	for _, d := range s.Limits.IO {
		for _, r := range []struct {
			name      string
			now, most int64
		}{
			{"rbps", d.ReadBytes, d.Max.ReadBytes}, {"wbps", d.WriteBytes, d.Max.WriteBytes},
			{"riops", d.Reads, d.Max.Reads}, {"wiops", d.Writes, d.Max.Writes},
		} {
			if r.now > 0 {
				to <- gauge(descSiteIO, float64(r.now), s.Name, d.Device, r.name)
				to <- gauge(descSiteIOMax, float64(max(r.now, r.most)), s.Name, d.Device, r.name)
			}
		}
	}
}

func collectLoad(to chan<- prometheus.Metric, s *api.Site) {
	l := s.Load
	if l == nil {
		return
	}
	to <- counter(descSiteRequests, float64(l.Requests), s.Name)
	to <- counter(descSiteNoTurns, float64(l.NoTurns), s.Name)
	to <- counter(descSiteRefused, float64(l.Refused), s.Name)
	to <- counter(descSiteFailed, float64(l.Failed), s.Name)
	to <- counter(descSiteBytes, float64(l.BytesIn), s.Name, "in")
	to <- counter(descSiteBytes, float64(l.BytesOut), s.Name, "out")
	to <- counter(descSiteFlows, float64(l.UDPFlows), s.Name)
	to <- gauge(descSiteQueue, float64(l.AcceptQueue), s.Name)
}

// collectLatency does not go by what is shown to people, which is of the time since
// somebody looked.
func collectLatency(to chan<- prometheus.Metric, e *life.Site) {
	var all bpf.Histogram
	e.With(func(l *life.Live) {
		if l.Activity != nil {
			all = latency(l)
		}
	})
	if all.Count() == 0 {
		return
	}
	buckets := map[float64]uint64{}
	for _, bound := range bpf.LatencyBounds() {
		buckets[bound.Seconds()] = all.Below(bound)
	}
	to <- prometheus.MustNewConstHistogram(descSiteLatency, all.Count(), all.Sum().Seconds(), buckets, e.Name)
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}
