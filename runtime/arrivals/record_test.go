package arrivals

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect/model"
	"github.com/fcnode/fcnode/tests/testutil"
)

// envRecords makes this test binary the child of TestRecordOfAKilledDaemon.
const envRecords = "FCNODE_ARRIVALS_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envRecords); dir != "" {
		recordForEver(dir)
	}
	testutil.Main(m)
}

func options(dir string) Options {
	return Options{
		Dir: dir, Keep: 48 * time.Hour, Disk: 1 << 20,
		Lost: func(err error) { fmt.Println("lost", err) }, Bad: func(path string, why error) { fmt.Println("bad", path, why) },
	}
}

func open(t *testing.T, o Options) *Record {
	t.Helper()
	return Open(o, newKernel().meter())
}

// hour is when tests take place: in a day that is over.
func hour() time.Time { return time.Now().Add(-24 * time.Hour).Truncate(24 * time.Hour) }

func at(m int) time.Time { return hour().Add(time.Duration(m) * time.Minute) }

// exported are the lines of the sites, minutes counted from hour().
func exported(t *testing.T, r *Record, q Query) []string {
	t.Helper()
	var b strings.Builder
	if q.Since.IsZero() {
		q.Since = hour()
	}
	if err := r.Export(&b, q); err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(b.String()) {
		if line[0] != '#' {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

func wants(t *testing.T, r *Record, q Query, want ...string) {
	t.Helper()
	if got := exported(t, r, q); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("it exports\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRecord: a line a site in the format of the traces, also of those that nobody visited,
// and of the minute that is not over; the next daemon goes on with it.
func TestRecord(t *testing.T) {
	o := options(filepath.Join(t.TempDir(), "arrivals"))
	r := open(t, o)
	r.Add(at(0), "blog", 2)
	r.Add(at(0), "blog", 1)
	r.Add(at(0), "shop", 1)
	r.Add(at(0), "gone", 1)
	r.Add(at(3), "blog", 5)
	q := Query{Sites: []string{"shop", "blog", "quiet"}}
	wants(t, r, q, "blog | 0:3 3:5", "quiet |", "shop | 0:1")
	wants(t, r, Query{Sites: q.Sites, Since: at(1)}, "blog | 2:5", "quiet |", "shop |")
	wants(t, r, Query{Sites: q.Sites, Until: at(3)}, "blog | 0:3", "quiet |", "shop | 0:1")
	wants(t, r, Query{Sites: q.Sites, Numbered: true}, "1 | 0:3 3:5", "2 |", "3 | 0:1")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, o)
	next.Add(at(3), "blog", 1) // still the same minute
	next.Add(at(4), "new", 1)
	wants(t, next, Query{Sites: []string{"blog", "new"}}, "blog | 0:3 3:6", "new | 4:1")
	var text strings.Builder
	if err := next.Export(&text, q); err != nil {
		t.Fatal(err)
	}
	f, err := model.ReadFleet("record", strings.NewReader(text.String()), 1)
	if err != nil || f.Sites != 3 || f.Requests() != 10 {
		t.Fatalf("replay reads %+v, %v", f, err)
	}
	if minutes := f.Span / 60; minutes < 100 { // until now, not to the last arrival
		t.Errorf("it reads %v minutes of\n%s", minutes, text.String())
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecordIsBounded: the oldest days make room, and a day that is full takes no more, of which
// is told once.
func TestRecordIsBounded(t *testing.T) {
	var lost []error
	o := options(t.TempDir())
	o.Disk, o.Keep, o.Lost = 4000, 72*time.Hour, func(err error) { lost = append(lost, err) }
	r := open(t, o)
	first := hour().Add(-10 * 24 * time.Hour)
	for day := range 11 {
		r.Add(first.Add(time.Duration(day)*24*time.Hour), "blog", 1)
	}
	days, err := listDays(o.Dir)
	if err != nil || len(days) > 5 {
		t.Errorf("it keeps %v (%v), asked to keep three days", days, err)
	}
	for m := range 400 {
		r.Add(at(m), fmt.Sprintf("site-%d", m), 1000)
	}
	var sum int64
	days, _ = listDays(o.Dir)
	for _, d := range days {
		st, err := os.Stat(filepath.Join(o.Dir, d))
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	if sum > o.Disk || len(lost) == 0 || len(lost) > 2 || !errors.Is(lost[0], errFull) {
		t.Errorf("it takes %d bytes of %d, and told %v", sum, o.Disk, lost)
	}
	if len(r.sites) > 1 {
		t.Errorf("%d sites wait in memory", len(r.sites))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecordOfNothing: a node that is not to record leaves no file, and later begins anew.
func TestRecordOfNothing(t *testing.T) {
	o := options(filepath.Join(t.TempDir(), "arrivals"))
	r := open(t, o)
	r.Add(at(0), "blog", 1)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	off := o
	off.Keep = 0
	r = open(t, off)
	r.Add(at(1), "blog", 1)
	r.Save(at(2))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, now)); !os.IsNotExist(err) {
		t.Errorf("what was counted is still there: %v", err)
	}
}

// TestRecordThatCannotBeKept: a node goes on without a record that it cannot have, and says so.
func TestRecordThatCannotBeKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(filepath.Join(file, "arrivals"))
	var lost []error
	o.Lost = func(err error) { lost = append(lost, err) }
	r := open(t, o)
	if len(lost) != 1 {
		t.Errorf("told %v", lost)
	}
	r.Add(at(0), "blog", 1)
	r.Save(at(1))
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestRecordOnADiskThatIsFull: what cannot be written stays in memory, by site and not by
// minute, and is written when it can be.
func TestRecordOnADiskThatIsFull(t *testing.T) {
	told := 0
	o := options(t.TempDir())
	o.Lost = func(error) { told++ }
	r := open(t, o)
	r.Add(at(0), "blog", 1)
	r.Save(at(1))
	day := r.day
	broken, err := os.Open(os.DevNull) // which cannot be written by this descriptor
	if err != nil {
		t.Fatal(err)
	}
	good := day.f
	day.f = broken
	for m := 1; m < 10; m++ {
		r.Add(at(m), "blog", 1)
	}
	day.f = good
	broken.Close()
	r.Add(at(10), "blog", 1)
	r.Save(at(11))
	if told == 0 || told > 2 {
		t.Errorf("it told %d times", told)
	}
	wants(t, r, Query{Sites: []string{"blog"}}, "blog | 0:1 9:9 10:1")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecordTellsOnce: a day that cannot be written is told once, though the minute is saved meanwhile, and again when
// it has worked in between.
func TestRecordTellsOnce(t *testing.T) {
	told := 0
	o := options(t.TempDir())
	o.Lost = func(error) { told++ }
	r := open(t, o)
	r.Add(at(0), "blog", 1)
	r.Save(at(1))
	good := r.day.f
	broken, err := os.Open(os.DevNull) // which cannot be written by this descriptor
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	for round := range 2 {
		r.day.f = broken
		for m := range 5 {
			begin := at(1 + 10*round + m)
			r.Add(begin, "blog", 1)
			r.saved = begin // not today
			r.Save(begin.Add(saveEvery))
			if r.changed {
				t.Fatal("the minute is not saved")
			}
		}
		r.day.f = good
		r.Save(at(8 + 10*round))
		if told != round+1 {
			t.Fatalf("round %d: told %d times", round, told)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecordThatIsDamaged: a bad byte costs its line, a bad file its day, and neither the
// daemon's start.
func TestRecordThatIsDamaged(t *testing.T) {
	var bad []string
	o := options(t.TempDir())
	o.Bad = func(path string, _ error) {
		bad = append(bad, filepath.Base(path))
		if err := os.RemoveAll(path); err != nil {
			t.Error(err)
		}
	}
	r := open(t, o)
	for m := range 3 {
		r.Add(at(m), "blog", 2)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	days, err := listDays(o.Dir)
	if err != nil || len(days) != 1 {
		t.Fatal(days, err)
	}
	path := filepath.Join(o.Dir, days[0])
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = append([]byte("\x00\xff garbage\n@\n@ x y\n-4 0:1\n99999 0:1\n5 0:-1 7:99999999999999999999\n"), b...)
	b = append(b, "59 0:77"...) // torn
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, now), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = open(t, o)
	r.Add(at(6), "blog", 1)
	r.Save(at(7))
	wants(t, r, Query{Sites: []string{"blog"}}, "blog | 0:2 1:2 6:1")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	r = open(t, o)
	r.Add(at(8), "blog", 1)
	r.Save(at(9))
	if len(bad) != 2 || bad[0] != now || bad[1] != days[0] {
		t.Errorf("it moved %v away", bad)
	}
	wants(t, r, Query{Sites: []string{"blog"}}, "blog | 0:1") // the record begins there
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecordThatIsTorn: of a day that a daemon did not write to its end, and no later one has opened, the last line does not count.
func TestRecordThatIsTorn(t *testing.T) {
	o := options(t.TempDir())
	r := open(t, o)
	if err := os.WriteFile(filepath.Join(o.Dir, hour().Format(dayForm)), []byte("@ 0 blog\n5 0:12\n6 0:1"), 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, r, Query{Sites: []string{"blog"}}, "blog | 0:12") // the record begins there
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestExportWhileMinutesEnd: each minute is there once, in its file or not yet.
func TestExportWhileMinutesEnd(t *testing.T) {
	r := open(t, options(t.TempDir()))
	r.Add(at(0), "blog", 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m := 1; m < perDay; m++ {
			r.Add(at(m), "blog", 1)
		}
	}()
	for ended := false; !ended && !t.Failed(); {
		select {
		case <-done:
			ended = true
		default:
		}
		for m, entry := range strings.Fields(exported(t, r, Query{Sites: []string{"blog"}})[0])[2:] {
			if entry != fmt.Sprintf("%d:1", m) {
				t.Errorf("minute %d is %s", m, entry)
				break
			}
		}
	}
	<-done
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// recordForEver adds minute after minute, and says when one is on disk.
func recordForEver(dir string) {
	r := Open(options(dir), newKernel().meter())
	for m := range 1200 {
		r.Add(at(m), "blog", uint64(m+1))
		r.Add(at(m), fmt.Sprint("site-", m%17), 1)
		if m > 0 {
			fmt.Println("wrote", m-1)
		}
	}
	select {}
}

// TestRecordOfAKilledDaemon: each minute that was over is there, once and whole, whenever the
// daemon is killed.
func TestRecordOfAKilledDaemon(t *testing.T) {
	for round := range 8 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envRecords+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, wrote := bufio.NewScanner(out), 0
		for range 5 + 3*round {
			if !lines.Scan() {
				t.Fatal("it ended by itself")
			}
			if _, err := fmt.Sscan(strings.TrimPrefix(lines.Text(), "wrote "), &wrote); err != nil {
				t.Fatal(lines.Text())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it said before it died
			_, _ = fmt.Sscan(strings.TrimPrefix(lines.Text(), "wrote "), &wrote)
		}
		_ = cmd.Wait() // killed
		r := open(t, options(dir))
		got := strings.Fields(exported(t, r, Query{Sites: []string{"blog"}})[0])[2:]
		if len(got) < wrote+1 {
			t.Errorf("%d minutes were on disk, it exports %d", wrote+1, len(got))
		}
		for m, entry := range got {
			if entry != fmt.Sprintf("%d:%d", m, m+1) {
				t.Errorf("minute %d is %s", m, entry)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHours: a site's arrivals of all days by the hour of the day; of a site that nobody visited none.
func TestHours(t *testing.T) {
	r := open(t, options(filepath.Join(t.TempDir(), "arrivals")))
	for _, day := range []int{-1, 0} {
		for _, a := range [][2]int{{0, 2}, {59, 1}, {60, 4}, {23 * 60, 8}} {
			r.Add(at(day*24*60+a[0]), "blog", uint64(a[1]))
		}
	}
	r.Add(at(23*60+5), "shop", 100)
	hours, err := r.Hours("blog")
	if want := ([24]uint64{0: 6, 1: 8, 23: 16}); err != nil || *hours != want {
		t.Errorf("%v, want %v (%v)", hours, want, err)
	}
	if hours, err := r.Hours("forum"); err != nil || *hours != ([24]uint64{}) {
		t.Errorf("of a site that nobody visited: %v (%v)", hours, err)
	}
}
