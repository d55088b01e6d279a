package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newTrace(e *env) *cobra.Command {
	n := 1
	cmd := &cobra.Command{
		Use:   "trace SITE",
		Short: "Show where the time of a wake went",
		Long: `Shows the last wakes of a site, newest first. Each step has the time since the first
packet and a bar that begins at the step before it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeSites(e, 1),
	}
	output := addOutput(cmd)
	cmd.Flags().IntVarP(&n, "last", "n", 1, "show the last `N` wakes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client := e.client()
		defer client.Close()
		traces, err := client.Traces(cmd.Context(), args[0], n)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, traces)
		}
		if len(traces) == 0 {
			fmt.Fprintf(e.stderr, "%s was not woken yet.\n", args[0])
		}
		for i := range traces {
			if i > 0 {
				fmt.Fprintln(e.stdout)
			}
			if err := printTrace(e.stdout, &traces[i], e.width()); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// Bounds of the waterfall's columns, in characters.
const (
	minBar      = 8
	maxBar      = 60
	maxStepName = 40
)

// printTrace draws one wake:
//
//	wake 2026-11-22T10:31:07.482Z  from cold  client 203.0.113.9:52114
//	  SYN held in the kernel        0.000 ms  |
//	  listening (from the kernel)  98.403     |==================
//	  first byte                  171.204     |                  =============
func printTrace(w io.Writer, t *api.Trace, columns int) error {
	var b strings.Builder
	writeTraceHead(&b, t, columns)
	nameWidth, timeWidth := 0, 0
	var total time.Duration
	for _, s := range t.Steps {
		nameWidth = max(nameWidth, utf8.RuneCountInString(cut(s.Name, maxStepName)))
		timeWidth = max(timeWidth, len(stepTime(s.At.Duration())))
		total = max(total, s.At.Duration())
	}
	// Two spaces, name, two spaces, time, " ms", two spaces, "|", bar.
	bar := min(maxBar, max(minBar, columns-nameWidth-timeWidth-10))
	var before time.Duration
	for i, s := range t.Steps {
		unit := "   "
		if i == 0 {
			unit = " ms"
		}
		name := cut(s.Name, maxStepName)
		pad := strings.Repeat(" ", nameWidth-utf8.RuneCountInString(name))
		fmt.Fprintf(&b, "  %s%s  %*s%s  |%s\n", name, pad, timeWidth, stepTime(s.At.Duration()), unit,
			barOf(before, s.At.Duration(), total, bar))
		before = s.At.Duration()
	}
	if t.Error != "" {
		fmt.Fprintf(&b, "  %s\n", t.Error)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeTraceHead puts the sum at the right margin if there is room, else below.
func writeTraceHead(b *strings.Builder, t *api.Trace, columns int) {
	head := fmt.Sprintf("wake %s  from %s", stamp(t.Start), t.From)
	if t.Client.IsValid() {
		head += "  client " + t.Client.String()
	}
	sum := traceSum(t)
	b.WriteString(head)
	if gap := columns - utf8.RuneCountInString(head) - len(sum); gap >= 2 {
		b.WriteString(strings.Repeat(" ", gap) + sum + "\n")
		return
	}
	b.WriteString("\n  " + sum + "\n")
}

// traceSum is "first byte 171.2 ms", "failed, last step 31.0 ms".
func traceSum(t *api.Trace) string {
	if len(t.Steps) == 0 {
		return t.Result
	}
	end := t.Steps[len(t.Steps)-1]
	what := end.Name
	if t.Result != api.ResultOK {
		what = t.Result + ", last step"
	} else if i := slices.IndexFunc(t.Steps, func(s api.Step) bool { return s.Name == api.StepFirstByte }); i >= 0 {
		// What the visitor saw; the node may have had something to finish
		// afterwards.
		end, what = t.Steps[i], api.StepFirstByte
	}
	return what + " " + millis(end.At.Duration())
}

func stepTime(d time.Duration) string {
	return fmt.Sprintf("%.3f", float64(d)/float64(time.Millisecond))
}

// barOf runs from one moment to the next; what is too short for a character is
// a line.
func barOf(from, to, total time.Duration, width int) string {
	if total <= 0 {
		return ""
	}
	at := func(d time.Duration) int { return int(float64(d)/float64(total)*float64(width) + 0.5) }
	begin, end := at(from), at(to)
	switch {
	case end > begin:
		return strings.Repeat(" ", begin) + strings.Repeat("=", end-begin)
	case begin == 0:
		return ""
	default:
		return strings.Repeat(" ", begin) + "|"
	}
}

// cut shortens a text to n characters.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}
