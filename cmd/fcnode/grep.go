package main

import (
	"iter"
	"regexp"

	"github.com/fcnode/fcnode/runtime/api"
)

// longestLine is how much of a line that comes in parts is put together.
const longestLine = 1 << 20

// grepped gives those of the lines that match. A line that comes in parts is
// put together first: it matches as a whole or not at all.
func grepped(lines iter.Seq2[api.LogLine, error], shown *regexp.Regexp) iter.Seq2[api.LogLine, error] {
	return func(yield func(api.LogLine, error) bool) {
		type source struct{ replica, stream string }
		parts := map[source]api.LogLine{}
		for line, err := range lines {
			if err != nil {
				yield(line, err)
				return
			}
			from := source{line.Replica, line.Stream}
			if begun, ok := parts[from]; ok {
				line.Text, line.Time = begun.Text+line.Text, begun.Time
				delete(parts, from)
			}
			if line.Partial && len(line.Text) < longestLine {
				parts[from] = line
				continue
			}
			line.Partial = false
			if shown.MatchString(line.Text) && !yield(line, nil) {
				return
			}
		}
		for _, line := range parts { // what it ends with
			line.Partial = false
			if shown.MatchString(line.Text) && !yield(line, nil) {
				return
			}
		}
	}
}
