package main

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/detect/model"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/spec"
)

const replayLong = `Plays recorded requests through rules for sleep, on paper: it touches nothing. They
are those of a FILE, or what the node has recorded of a SITE or with --all of all
its sites (see "fcnode record"). What exists as a file, or has a slash or a dot
in its name, is a FILE.

Each line of FILE is a site, "minute:count minute:count ...", counted from the
beginning; or FILE is one site's requests, a count a second on a line each. A
name that ends in .gz is unpacked, - is the standard input.

Policies: plans (fcnode's, its price steered to --late), auto (a ladder of each
site's own, steered to the share --late of cold requests), ski-rental,
timeout=5m (from running to cold), and oracle, which knows how long each pause
will be. What the tiers cost a SITE is what the node has measured (see "fcnode
why"), unless --memory or --start is given; else it is assumed from these.
Likewise --late and --over are those of a SITE's service level.`

// class are the flags that say what sites cost and what they promise.
type classFlags struct {
	memory, late string
	start, over  time.Duration
}

func addClass(cmd *cobra.Command) *classFlags {
	c := &classFlags{}
	cmd.Flags().StringVar(&c.memory, "memory", "91MiB", "`SIZE` that a running site holds")
	cmd.Flags().DurationVar(&c.start, "start", 750*time.Millisecond, "`TIME` that a cold site takes to answer")
	cmd.Flags().StringVar(&c.late, "late", "1%", "`SHARE` of all requests that may be late")
	cmd.Flags().DurationVar(&c.over, "over", 100*time.Millisecond, "`TIME` beyond which a request is late")
	return c
}

// given says that what tiers cost was asked for by a flag.
func (c *classFlags) given(cmd *cobra.Command) bool {
	return cmd.Flags().Changed("memory") || cmd.Flags().Changed("start")
}

// read checks the flags.
func (c *classFlags) read() (options []sleep.Option, class sleep.Class, err error) {
	memory, err := spec.ParseBytes(c.memory)
	if err != nil {
		return nil, class, fmt.Errorf("--memory: %w", err)
	}
	late, err := spec.ParsePercent(c.late)
	if err != nil {
		return nil, class, fmt.Errorf("--late: %w", err)
	}
	if c.start <= 0 || c.over <= 0 {
		return nil, class, errors.New("--start and --over are times above 0")
	}
	return model.Assumed(float64(memory), c.start), sleep.Class{Late: late.Share(), Over: c.over}, nil
}

func newReplay(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay FILE|SITE|--all",
		Short: "Play recorded requests through rules for sleep, on paper",
		Long:  replayLong,
		Example: `  fcnode replay --all --since 24h
  fcnode replay blog --policy plans,timeout=5m,oracle
  fcnode replay trace.txt.gz --late 0.5% --memory 60MiB`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecorded(e),
	}
	policies := cmd.Flags().StringSlice("policy", []string{"plans", "auto", "ski-rental", "timeout=5m", "oracle"}, "`NAME` of a rule; more of them with commas")
	flags := addClass(cmd)
	from := addRecorded(cmd)
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, class, err := flags.read()
		if err != nil {
			return err
		}
		f, measured, err := from.read(cmd.Context(), e, args)
		if err != nil {
			return err
		}
		if measured != nil && !flags.given(cmd) {
			options = measured
		}
		class = from.levelFor(cmd, class)
		var out []replayed
		for _, name := range *policies {
			rule, err := model.NewPolicy(name, options, class, f.Sites)
			if err != nil {
				return err
			}
			r := model.PlayNights(model.NightConfig{Options: options, Over: class.Over}, f, rule)
			out = append(out, newReplayed(name, f, r))
		}
		if *output == formatJSON {
			return printJSON(e.stdout, out)
		}
		return printReplayed(e.stdout, f, class, out)
	}
	return cmd
}

// readFleet reads a file of recorded requests.
func readFleet(e *env, path string) (*model.Fleet, error) {
	in := e.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		in = io.Reader(z)
	}
	f, err := model.ReadFleet(path, in, 1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// replayed is what a rule made of the requests.
type replayed struct {
	Policy string  `json:"policy"`
	Memory float64 `json:"memory"` // bytes on average
	Share  float64 `json:"share"`  // of what all sites would hold if they were always running
	Late   float64 `json:"late"`   // share of the requests
	Wait   float64 `json:"wait"`   // seconds a request on average
	Wakes  float64 `json:"wakes"`  // a site and day
	Ahead  float64 `json:"ahead"`  // wakes that nobody waited for, a site and day
	Dumps  float64 `json:"dumps"`  // a site and day
}

func newReplayed(name string, f *model.Fleet, r *model.NightReport) replayed {
	t := r.Total()
	days := float64(f.Sites) * f.Span / 86400
	requests := max(1, t.Requests)
	return replayed{
		Policy: name, Memory: t.Memory / f.Span * float64(spec.GiB), Share: r.Share(), Late: t.Late / requests, Wait: t.Waited / requests,
		Wakes: t.Wakes / days, Ahead: t.Ahead / days, Dumps: t.Dumps / days,
	}
}

func printReplayed(w io.Writer, f *model.Fleet, class sleep.Class, all []replayed) error {
	fmt.Fprintf(w, "%s, %s, %s\n\n", plural(f.Sites, "site"), plural(f.Requests(), "request"), time.Duration(f.Span*1e9).Round(time.Second))
	var t table
	t.row("POLICY", "MEMORY", "OF ALWAYS RUNNING", "OVER "+class.Over.String(), "MEAN WAIT", "WAKES", "AHEAD", "DUMPS")
	for _, r := range all {
		t.row(r.Policy, size(int64(r.Memory)), fmt.Sprintf("%.1f%%", 100*r.Share), fmt.Sprintf("%.3g%%", 100*r.Late),
			fmt.Sprintf("%.2f ms", 1e3*r.Wait), fmt.Sprintf("%.1f", r.Wakes), fmt.Sprintf("%.1f", r.Ahead), fmt.Sprintf("%.1f", r.Dumps))
	}
	if err := t.print(w); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "\nWakes, wakes ahead and dumps are a site and day.")
	return err
}
