package arrivals

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fcnode/fcnode/runtime/file"
)

// Query says what to export.
type Query struct {
	// Sites are all whose line is to be there, also if they had no arrivals.
	Sites []string
	// Since and Until bound it; zero: all there is.
	Since, Until time.Time
	// Numbered puts numbers in the place of the sites' names.
	Numbered bool
}

// series is a site's minutes, three bytes each.
type series struct {
	b    []byte
	last minute
	sum  uint64 // of the last minute, which is not in b yet
}

func (s *series) add(m minute, n uint64) {
	switch {
	case s.sum == 0:
		s.last, s.sum = m, n
		s.b = binary.AppendUvarint(s.b, uint64(m))
		return
	case m <= s.last: // a clock that went back
		s.sum += n
		return
	}
	s.b = binary.AppendUvarint(s.b, s.sum)
	s.b = binary.AppendUvarint(s.b, uint64(m-s.last))
	s.last, s.sum = m, n
}

// write puts "name | minute:count minute:count" on a line, minutes counted from begin.
func (s *series) write(w *bufio.Writer, name string, begin minute) {
	fmt.Fprintf(w, "%s |", name)
	for m, n := range s.all() {
		fmt.Fprintf(w, " %d:%d", m-begin, n)
	}
	fmt.Fprintln(w)
}

// all gives the minutes with their counts.
func (s *series) all() iter.Seq2[minute, uint64] {
	return func(yield func(minute, uint64) bool) {
		if s == nil || s.sum == 0 {
			return
		}
		b, at := binary.AppendUvarint(slices.Clip(s.b), s.sum), minute(0)
		for len(b) > 0 {
			step, n := binary.Uvarint(b)
			count, k := binary.Uvarint(b[n:])
			b = b[n+k:]
			if at += minute(step); !yield(at, count) {
				return
			}
		}
	}
}

// Hours are a site's arrivals in each hour of the day (UTC), as far as the record goes back.
func (r *Record) Hours(name string) (*[24]uint64, error) {
	all := map[string]*series{name: nil}
	if _, _, err := r.collect(all, Query{}); err != nil {
		return nil, err
	}
	var hours [24]uint64
	for m, n := range all[name].all() {
		hours[m.time().Hour()] += n
	}
	return &hours, nil
}

// Export writes the sites' arrivals in the format of the request traces: comments,
// then a line a site, with the minutes that had any counted from the first one.
func (r *Record) Export(to io.Writer, q Query) error {
	all := map[string]*series{}
	for _, name := range q.Sites {
		all[name] = nil
	}
	begin, end, err := r.collect(all, q)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, "# fcnode record: arrivals by the minute (requests, and connections that asked for nothing), a line a site\n")
	fmt.Fprintf(w, "# begin %s\n# minutes %d\n", begin.time().Format(time.RFC3339), end-begin)
	for i, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		if q.Numbered {
			name = fmt.Sprint(i + 1)
		}
		s.write(w, name, begin)
	}
	return w.Flush()
}

// collect reads the days. The span begins with the record, and ends with the minute
// that is not over, which counts.
func (r *Record) collect(all map[string]*series, q Query) (begin, end minute, err error) {
	end = minuteOf(time.Now()) + 1
	if !q.Until.IsZero() {
		end = min(end, minuteOf(q.Until))
	}
	if !q.Since.IsZero() {
		begin = minuteOf(q.Since)
	}
	first := minute(0)
	add := func(m minute, name string, n uint64) {
		if first == 0 || m < first {
			first = m
		}
		s, asked := all[name]
		if !asked || m < begin || m >= end {
			return
		}
		if s == nil {
			s = &series{}
			all[name] = s
		}
		s.add(m, n)
	}
	m, sites, written := r.unwritten()
	days, err := listDays(r.Dir)
	if err != nil {
		return 0, 0, fmt.Errorf("list the record of arrivals: %w", err)
	}
	for _, name := range days {
		of := beginOf(name)
		if of >= end || of+perDay <= begin {
			continue
		}
		b, err := file.Read(filepath.Join(r.Dir, name), r.Disk)
		if err != nil {
			return 0, 0, fmt.Errorf("read the record of arrivals of %s: %w", name, err)
		}
		if of == m-m%perDay {
			b = b[:min(int64(len(b)), written)] // what was written since is in sites
		}
		names := map[int]string{}
		for l := range readLines(b, of) {
			switch name, known := names[l.number]; {
			case l.site != "":
				names[l.number] = l.site
			case known:
				add(l.minute, name, l.count)
			}
		}
	}
	for name, n := range sites {
		add(m, name, n)
	}
	if first == 0 {
		first = end - 1
	}
	return min(max(begin, first), end), end, nil
}

// unwritten gives the minute that is not in the file of its day yet, and how long that
// file is.
func (r *Record) unwritten() (m minute, sites map[string]uint64, written int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st, err := os.Lstat(filepath.Join(r.Dir, r.minute.time().Format(dayForm))); err == nil {
		written = st.Size()
	}
	return r.minute, maps.Clone(r.sites), written
}
