package main

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fcnode/fcnode/detect/model"
)

// traces are what the folder of -traces has. Without it there are only fleets that
// the study makes.
type traces struct {
	day     []model.Pattern // azure, one day
	popular []int           // azure, requests a day
	hours   []model.Pattern // azure, 8 hours
	nasa    []int           // by the second
}

func readTraces(folder string) (*traces, error) {
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	t := &traces{}
	read := func(name string, parse func(io.Reader) error) error {
		f, err := os.Open(filepath.Join(folder, name))
		if err != nil {
			return fmt.Errorf("the folder of -traces: %w", err)
		}
		defer f.Close()
		in := io.Reader(f)
		if strings.HasSuffix(name, ".gz") {
			z, err := gzip.NewReader(f)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			in = z
		}
		if err := parse(in); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	patterns := func(to *[]model.Pattern) func(io.Reader) error {
		return func(r io.Reader) (err error) { *to, err = model.ReadMinutes(r); return }
	}
	numbers := func(to *[]int) func(io.Reader) error {
		return func(r io.Reader) (err error) { *to, err = model.ReadNumbers(r); return }
	}
	return t, errors.Join(
		read("azure2019-day-patterns.txt.gz", patterns(&t.day)),
		read("azure2019-functions-day-count.txt", numbers(&t.popular)),
		read("azure2019-500f-480min.txt.gz", patterns(&t.hours)),
		read("nasa-http-1995-per-second.txt.gz", numbers(&t.nasa)),
	)
}

// A half of the patterns is for choosing constants, the other for the figures.
const (
	tuning = iota
	heldOut
)

// half keeps the patterns of one half, whole applications together. What is asked for
// more than once a second on average never sleeps, whatever the rule, and would only make
// the shares of the others look small.
func half(all []model.Pattern, which uint32, minutes int) (out []model.Pattern) {
	for _, p := range all {
		if p.Total() > 60*minutes {
			continue
		}
		h := fnv.New32a()
		fmt.Fprint(h, "half ", cmp.Or(p.App, p.Name))
		if h.Sum32()>>16&1 == which {
			out = append(out, p)
		}
	}
	return out
}

// The NASA series has a gap between 28 July and 1 August that is not filled in, and
// August begins with an outage of two days.
const (
	nasaJuly   = 27 * 86400
	nasaAugust = 2381400 + 3*86400 // 27.56 days of July, then the outage
)

// fleets are those of the study, of one half.
func (t *traces) fleets(which uint32, short bool, seed uint64) (out []*model.Fleet) {
	sites, days := 600, 14
	if short {
		sites, days = 200, 7
	}
	if t != nil {
		http := []model.Pattern{}
		hours := half(t.hours, which, 480)
		for _, p := range hours {
			if p.Trigger == "http" {
				http = append(http, p)
			}
		}
		out = append(out,
			model.PopularFleet("azure day", half(t.day, which, 1440), t.popular, sites, 1440, seed),
			model.PatternFleet("azure 8 h", hours, 480, seed),
			model.PatternFleet("azure 8 h http", http, 480, seed),
		)
		from := 0
		if which == heldOut {
			from = nasaAugust
		}
		out = append(out, model.ThinnedFleet("nasa fleet", t.nasa[from:from+days*86400], sites/5, 1, 4, seed+uint64(which)))
	}
	return append(out, model.Hosting("hosting", sites/4, days, seed+uint64(which)))
}
