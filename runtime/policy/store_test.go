package policy

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// envLearns makes this test binary the child of TestExperienceOfAKilledDaemon.
const envLearns = "FCNODE_NODE_TEST_STATE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envLearns); dir != "" {
		learnForEver(dir)
	}
	testutil.Main(m)
}

// learnForEver puts one more, again and again, and says so when it is written.
func learnForEver(dir string) {
	var work sync.WaitGroup
	s := OpenStore(dir, work.Go, func(_ string, err error) { fmt.Println("lost", err) })
	for i := time.Duration(1); ; i++ {
		if err := s.Put("a", answers(i)); err != nil {
			fmt.Println("lost", err)
		}
		work.Wait()
		fmt.Println("wrote", int64(i))
	}
}

func answers(i time.Duration) *Experience {
	x := NewExperience()
	x.Answer = i
	return x
}

// later collects what is to run in the background.
type later struct{ jobs []func() }

func (l *later) add(job func()) { l.jobs = append(l.jobs, job) }

func testExperiences(t *testing.T) (*Store, *later) {
	background := &later{}
	return OpenStore(t.TempDir(), background.add, func(name string, err error) { t.Error(name, err) }), background
}

// wants compares what is known of a site: what a reader gets, or what the next daemon will.
func (s *Store) wants(t *testing.T, siteName string, want time.Duration) {
	t.Helper()
	if x, err := s.Load(siteName); err != nil || x.Answer != want {
		t.Errorf("of %s %d is known (%v), want %d", siteName, x.Answer, err, want)
	}
}

func put(t *testing.T, s *Store, siteName string, i time.Duration) {
	t.Helper()
	if err := s.Put(siteName, answers(i)); err != nil {
		t.Fatal(err)
	}
}

// TestExperiencePutLastIsKept: in whatever order the background gets to run, the
// newest is in the file, and who asks meanwhile is given it.
func TestExperiencePutLastIsKept(t *testing.T) {
	s, background := testExperiences(t)
	for i := range time.Duration(9) {
		put(t, s, "a", i+1)
		put(t, s, "b", 10*(i+1))
		s.wants(t, "a", i+1)
	}
	for i := len(background.jobs) - 1; i >= 0; i-- {
		background.jobs[i]()
	}
	next := OpenStore(t.TempDir(), background.add, nil)
	next.dir = s.dir
	next.wants(t, "a", 9)
	next.wants(t, "b", 90)
	if len(s.waiting) > 0 {
		t.Errorf("%d wait still", len(s.waiting))
	}
	if len(background.jobs) != 2 {
		t.Errorf("%d writes for what two could do", len(background.jobs))
	}
}

// TestExperienceOfADaemonThatStops: what no goroutine has come to write is written.
func TestExperienceOfADaemonThatStops(t *testing.T) {
	s, background := testExperiences(t)
	put(t, s, "a", 1)
	put(t, s, "b", 2)
	s.Flush()
	next := &Store{dir: s.dir, waiting: map[string][]byte{}}
	next.wants(t, "a", 1)
	next.wants(t, "b", 2)
	for _, job := range background.jobs {
		job() // it finds nothing to do
	}
	s.wants(t, "a", 1)
}

// TestExperienceOfADeletedSite: a write that was due does not bring it back.
func TestExperienceOfADeletedSite(t *testing.T) {
	s, background := testExperiences(t)
	put(t, s, "a", 1)
	if err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	for _, job := range background.jobs {
		job()
	}
	s.wants(t, "a", 0)
	if _, err := os.Stat(s.File("a")); !os.IsNotExist(err) {
		t.Errorf("its file: %v", err)
	}
}

// TestExperienceFromAllSides: under the race detector, with writes that overtake each other.
func TestExperienceFromAllSides(t *testing.T) {
	var work, writers sync.WaitGroup
	s := OpenStore(t.TempDir(), work.Go, func(name string, err error) { t.Error(name, err) })
	for site := range 4 {
		writers.Go(func() {
			name := fmt.Sprint("site-", site)
			for i := range time.Duration(200) {
				if err := s.Put(name, answers(i+1)); err != nil {
					t.Error(err)
				}
				s.wants(t, name, i+1)
			}
		})
	}
	writers.Wait()
	work.Wait()
	next := &Store{dir: s.dir, waiting: map[string][]byte{}}
	for site := range 4 {
		next.wants(t, fmt.Sprint("site-", site), 200)
	}
}

// TestExperienceOfAKilledDaemon: what was written is there, or what came after it, and it is whole.
func TestExperienceOfAKilledDaemon(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envLearns+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, wrote := bufio.NewScanner(out), int64(0)
		for range 20 + 7*round {
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
		next := OpenStore(dir, func(func()) {}, nil)
		if x, err := next.Load("a"); err != nil || int64(x.Answer) < wrote || int64(x.Answer) > wrote+1 {
			t.Errorf("%d is known (%v), %d was written", x.Answer, err, wrote)
		}
	}
}
