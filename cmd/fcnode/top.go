package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/terminal"
	"github.com/fcnode/fcnode/runtime/api"
)

// topOptions are what `fcnode top` was told, by flags and later by keys.
type topOptions struct {
	all, once, json bool
	sort            string
	interval        time.Duration
}

// minInterval keeps top from being the load that it shows.
const minInterval = 100 * time.Millisecond

func newTop(e *env) *cobra.Command {
	opts := topOptions{sort: "rps", interval: time.Second}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the sites that are awake",
		Long: `Shows the sites that are awake until interrupted: requests per second and latency since
the last refresh, CPU and memory use with the current limits and their maxima, and the
node's last decision. Keys: n, c, r, p, u and m sort by name, connections, requests,
p99, CPU and memory; a shows sleeping sites, too; q quits. Without a terminal it prints
one table after the other.`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.BoolVar(&opts.all, "all", false, "show sleeping sites, too")
	flags.BoolVar(&opts.once, "once", false, "print one table and exit")
	flags.BoolVar(&opts.json, "json", false, "print one line of JSON per refresh")
	flags.StringVar(&opts.sort, "sort", opts.sort, "sort by `COLUMN`: "+strings.Join(topColumns(), ", "))
	flags.DurationVar(&opts.interval, "interval", opts.interval, "refresh every `TIME`")
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(topColumns(), cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !slices.Contains(topColumns(), opts.sort) {
			return &hinted{err: fmt.Errorf("there is no column %q to sort by", opts.sort), hint: "columns: " + strings.Join(topColumns(), ", ")}
		}
		opts.interval = max(opts.interval, minInterval)
		client := e.client()
		defer client.Close()
		return runTop(cmd.Context(), e, client, opts)
	}
	return cmd
}

func runTop(ctx context.Context, e *env, client *api.Client, opts topOptions) error {
	if out, ok := terminal.File(terminal.Raw(e.stdout)); ok && !opts.once && !opts.json {
		screen, err := terminal.OpenScreen(e.stdin, out)
		if err != nil {
			return err
		}
		defer screen.Close()
		return watchTop(ctx, e, client, screen, opts)
	}
	tick := time.NewTicker(opts.interval)
	defer tick.Stop()
	for {
		sites, err := topSites(ctx, client, opts)
		if err == nil {
			err = printTop(e, sites, opts)
		}
		if err != nil || opts.once {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !opts.json {
			fmt.Fprintln(e.stdout)
		}
	}
}

// watchTop draws until the user has seen enough.
func watchTop(ctx context.Context, e *env, client *api.Client, screen *terminal.Screen, opts topOptions) error {
	tick := time.NewTicker(opts.interval)
	defer tick.Stop()
	for {
		sites, err := topSites(ctx, client, opts)
		if err != nil {
			return err
		}
		if err := screen.Draw(topLines(sites, e.now(), opts.sort)); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-screen.Resized():
		case key := <-screen.Keys():
			if !opts.press(key) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// press does what a key means; false ends it.
func (o *topOptions) press(key byte) bool {
	const interrupt, endOfFile = 3, 4 // what a raw terminal makes of Ctrl-C and Ctrl-D
	switch key {
	case 'q', 'Q', interrupt, endOfFile:
		return false
	case 'a':
		o.all = !o.all
	}
	for _, c := range topOrder {
		if c.key == key {
			o.sort = c.name
		}
	}
	return true
}

func topSites(ctx context.Context, client *api.Client, opts topOptions) ([]api.Site, error) {
	list := client.Awake
	if opts.all {
		list = client.List
	}
	sites, err := list(ctx)
	if err != nil {
		return nil, err
	}
	sortTop(sites, opts.sort)
	return sites, nil
}

// topOrder are the columns that can be sorted by. The largest come first, but
// for names.
var topOrder = []struct {
	name string
	key  byte
	of   func(*api.Site) float64
}{
	{"name", 'n', func(*api.Site) float64 { return 0 }},
	{"conns", 'c', func(s *api.Site) float64 { return float64(s.Conns.Now) }},
	{"rps", 'r', func(s *api.Site) float64 {
		if s.Load == nil {
			return 0
		}
		return s.Load.Rate
	}},
	{"p99", 'p', func(s *api.Site) float64 {
		if s.Latency == nil {
			return 0
		}
		return float64(s.Latency.P99)
	}},
	{"cpu", 'u', func(s *api.Site) float64 {
		if s.Usage == nil || s.Usage.CPU == nil {
			return 0
		}
		return *s.Usage.CPU
	}},
	{"memory", 'm', func(s *api.Site) float64 {
		if s.Usage == nil || s.Usage.Memory == nil {
			return 0
		}
		return float64(*s.Usage.Memory)
	}},
}

func topColumns() (names []string) {
	for _, c := range topOrder {
		names = append(names, c.name)
	}
	return names
}

func sortTop(sites []api.Site, by string) {
	for _, c := range topOrder {
		if c.name != by {
			continue
		}
		slices.SortStableFunc(sites, func(a, b api.Site) int {
			return cmp.Or(cmp.Compare(c.of(&b), c.of(&a)), strings.Compare(a.Name, b.Name))
		})
	}
}

// topFrame is one look as JSON.
type topFrame struct {
	Time  time.Time  `json:"time"`
	Sites []api.Site `json:"sites"`
}

func printTop(e *env, sites []api.Site, opts topOptions) error {
	if opts.json {
		return printJSONLine(e.stdout, topFrame{Time: e.now().UTC(), Sites: sites})
	}
	return topTable(sites, e.now()).print(e.stdout)
}

// topLines is a screen: a line about all, the table, and at the bottom what the
// keys do.
func topLines(sites []api.Site, now time.Time, sorted string) []string {
	var conns uint64
	var rate float64
	replicas := 0
	for i := range sites {
		conns += sites[i].Conns.Now
		replicas += len(sites[i].Replicas)
		if sites[i].Load != nil {
			rate += sites[i].Load.Rate
		}
	}
	lines := []string{fmt.Sprintf("fcnode  %s   %s, %s, %s, %s requests/s", now.Format("15:04:05"),
		plural(len(sites), "site"), plural(replicas, "replica"), plural(int(conns), "connection"), rps(rate)), ""}
	var b strings.Builder
	_ = topTable(sites, now).print(&b) // a builder takes everything
	lines = append(lines, strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")...)
	return append(lines, "", "sorted by "+sorted+"   n name  c conns  r rps  p p99  u cpu  m memory   a all  q quit")
}

func topTable(sites []api.Site, now time.Time) *table {
	t := &table{}
	t.row("NAME", "TIER", "REPLICAS", "CONNS", "RPS", "P50", "P99", "CPU", "NOW/MAX", "MEMORY", "NOW/MAX", "LAST DECISION")
	for i := range sites {
		s := &sites[i]
		t.row(s.Name, tier(s), replicas(s), strconv.FormatUint(s.Conns.Now, 10), topRate(s), topQuantile(s, 50), topQuantile(s, 99),
			topCPU(s), topCPULimit(s), topMemory(s), topMemoryLimit(s), listDecision(s, now))
	}
	return t
}

func topRate(s *api.Site) string {
	if s.Load == nil {
		return none
	}
	return rps(s.Load.Rate)
}

// rps is a rate: 0, 0.3, 45, 12034.
func rps(rate float64) string {
	if rate > 0 && rate < 9.95 {
		return strconv.FormatFloat(rate, 'f', 1, 64)
	}
	return strconv.FormatFloat(rate, 'f', 0, 64)
}

func topQuantile(s *api.Site, q int) string {
	switch {
	case s.Latency == nil:
		return none
	case q == 50:
		return latency(s.Latency.P50.Duration())
	default:
		return latency(s.Latency.P99.Duration())
	}
}

func topCPU(s *api.Site) string {
	if s.Usage == nil || s.Usage.CPU == nil {
		return none
	}
	return usedCores(*s.Usage.CPU)
}

func topCPULimit(s *api.Site) string {
	l := s.Limits.CPU
	if l == nil || l.Now == 0 {
		return none
	}
	return cores(l.Now) + "/" + cores(l.Max)
}

func topMemory(s *api.Site) string {
	if s.Usage == nil || s.Usage.Memory == nil {
		return none
	}
	return size(*s.Usage.Memory)
}

func topMemoryLimit(s *api.Site) string {
	l := s.Limits.Memory
	if l == nil || l.Now == 0 {
		return none
	}
	return sizes(l.Now, l.Max)
}
