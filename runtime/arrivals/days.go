package arrivals

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/file"
)

// A day is a file of lines. "@ 3 blog" gives a site a number in this file, and
// "754 0:12 3" says that in minute 754 of the day (UTC) the site 0 had 12
// arrivals, and 3 had one. A line that was not written whole has no end.

// minute counts them from 1970.
type minute int64

func minuteOf(t time.Time) minute { return minute(t.Unix() / 60) }

func (m minute) time() time.Time { return time.Unix(int64(m)*60, 0).UTC() }

const perDay = 24 * 60

const dayForm = "2006-01-02"

// day is the file that is written to.
type day struct {
	path    string
	name    string
	f       *os.File
	size    int64
	numbers map[string]int
	last    minute // of the newest line; 0: there is none
}

// openDay opens the file of a day to go on with it, behind its last whole line.
func openDay(dir string, m minute, most int64) (*day, error) {
	name := m.time().Format(dayForm)
	d := &day{path: filepath.Join(dir, name), name: name, numbers: map[string]int{}}
	b, err := file.Read(d.path, most)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	d.size = int64(bytes.LastIndexByte(b, '\n') + 1)
	for l := range readLines(b[:d.size], m-m%perDay) {
		if l.site != "" {
			d.numbers[l.site] = l.number
		} else {
			d.last = max(d.last, l.minute)
		}
	}
	if d.f, err = os.OpenFile(d.path, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600); err != nil {
		return nil, err
	}
	if err := d.f.Truncate(d.size); err != nil {
		return nil, errors.Join(err, d.f.Close())
	}
	return d, nil
}

// append adds a minute: all of it, or nothing.
func (d *day) append(m minute, counts map[string]uint64, most int64) error {
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	var heads, line bytes.Buffer
	next := len(d.numbers)
	fresh := map[string]int{}
	fmt.Fprintf(&line, "%d", m%perDay)
	for _, name := range names {
		n, known := d.numbers[name]
		if !known {
			n = next
			fresh[name] = n
			next++
			fmt.Fprintf(&heads, "@ %d %s\n", n, name)
		}
		fmt.Fprintf(&line, " %d", n)
		if c := counts[name]; c != 1 {
			fmt.Fprintf(&line, ":%d", c)
		}
	}
	line.WriteByte('\n')
	heads.Write(line.Bytes())
	if d.size+int64(heads.Len()) > most {
		return errFull
	}
	if _, err := d.f.WriteAt(heads.Bytes(), d.size); err != nil {
		return errors.Join(err, d.f.Truncate(d.size))
	}
	d.size += int64(heads.Len())
	d.last = max(d.last, m)
	for name, n := range fresh {
		d.numbers[name] = n
	}
	return nil
}

var errFull = errors.New("the record may take no more of the disk (record.disk)")

// line is one of a day's: a site's number, or an entry of a minute.
type line struct {
	site   string // with its number; empty: it is an entry
	number int
	minute minute
	count  uint64
}

// readLines yields what is in a file, and passes over what cannot be understood: a
// damaged byte costs its line, and so does a missing end.
func readLines(b []byte, begin minute) iter.Seq[line] {
	return func(yield func(line) bool) {
		for text := range bytes.Lines(b) {
			fields := strings.Fields(string(text))
			if len(fields) == 0 || text[len(text)-1] != '\n' {
				continue
			}
			if fields[0] == "@" {
				if n, err := strconv.Atoi(fields[min(1, len(fields)-1)]); err == nil && n >= 0 && len(fields) == 3 {
					if !yield(line{site: fields[2], number: n}) {
						return
					}
				}
				continue
			}
			of, err := strconv.Atoi(fields[0])
			if err != nil || of < 0 || of >= perDay {
				continue
			}
			for _, f := range fields[1:] {
				l := line{minute: begin + minute(of), count: 1}
				number, count, counted := strings.Cut(f, ":")
				n, err := strconv.Atoi(number)
				if counted && err == nil {
					l.count, err = strconv.ParseUint(count, 10, 32)
				}
				if l.number = n; err != nil || n < 0 {
					continue
				}
				if !yield(l) {
					return
				}
			}
		}
	}
}

// listDays gives the names of the days in a folder, the oldest first.
func listDays(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, e := range entries { // by name
		if _, err := time.Parse(dayForm, e.Name()); err == nil {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

func beginOf(name string) minute {
	t, err := time.Parse(dayForm, name)
	if err != nil { // listDays gives none of those
		return 0
	}
	return minuteOf(t)
}
