package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/spec"
)

// envKilled makes this test binary the child of TestKillDuringPut.
const envKilled = "FCNODE_STORE_TEST_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(envKilled); path != "" {
		if err := putForEver(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const killedSites = 40

// putForEver changes all sites at once, again and again, adds one for each
// round, and says so after each.
func putForEver(path string) error {
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	template, err := spec.Parse("test.yaml", strings.NewReader("name: x\nimage: dir:/x\nports: [80]\n"))
	if err != nil {
		return err
	}
	first, _, err := s.ReplicaIDs()
	if err != nil {
		return err
	}
	for round := int(first); ; round++ {
		var sites []*Site
		for i := range killedSites {
			site := &Site{Source: strconv.Itoa(round), Spec: template[0]}
			site.Spec.Name = fmt.Sprintf("site-%d", i)
			if old, err := s.Get(site.Spec.Name); err == nil {
				site.ID = old.ID
			}
			// of a different size each time, so that pages split and merge
			site.Spec.Command = []string{strings.Repeat("x", (round*37+i*101)%3000)}
			sites = append(sites, site)
		}
		extra := &Site{Source: strconv.Itoa(round), Spec: template[0]}
		extra.Spec.Name = fmt.Sprintf("extra-%d", round)
		if err := s.Put(append(sites, extra)); err != nil {
			return err
		}
		if _, err := fmt.Println("put", round, extra.ID); err != nil {
			return err
		}
		if err := s.Delete(extra.Spec.Name); err != nil {
			return err
		}
	}
}

// Whenever the daemon is killed, the file holds the last Put that was
// acknowledged or the one that was under way, whole.
func TestKillDuringPut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	lastExtra := uint32(0)
	for kill := range 8 {
		round, extra := killAfter(t, path, 2+kill)
		s := open(t, path)
		if extra <= lastExtra {
			t.Errorf("kill %d: number %d was given again (last was %d)", kill, extra, lastExtra)
		}
		lastExtra = extra
		checkWhole(t, s, round)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killAfter lets a child do so many Puts and kills it in what follows; it
// returns what the child said last.
func killAfter(t *testing.T, path string, puts int) (round int, extra uint32) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envKilled+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if _, err := fmt.Sscanf(lines.Text(), "put %d %d", &round, &extra); err != nil {
			t.Errorf("the child said %q", lines.Text())
		}
		if n == puts {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child was not killed: %v", err)
	}
	if round == 0 {
		t.Fatal("the child put nothing")
	}
	return round, extra
}

func checkWhole(t *testing.T, s *Store, acknowledged int) {
	t.Helper()
	ids := map[uint32]string{}
	rounds := map[string]int{}
	var extras []string
	err := s.All(func(site *Site) error {
		if other, used := ids[site.ID]; used {
			t.Errorf("%s and %s have number %d", site.Spec.Name, other, site.ID)
		}
		ids[site.ID] = site.Spec.Name
		if strings.HasPrefix(site.Spec.Name, "extra-") {
			extras = append(extras, site.Spec.Name)
		} else {
			rounds[site.Source]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rounds) != 1 || len(extras) > 1 {
		t.Fatalf("sites of several Puts, or not all: %v, and the extra ones %v", rounds, extras)
	}
	for source, n := range rounds {
		if round, err := strconv.Atoi(source); err != nil || n != killedSites || round < acknowledged || round > acknowledged+1 {
			t.Errorf("%d sites of Put %s, want all %d of Put %d or the next", n, source, killedSites, acknowledged)
		}
	}
	if err := s.Delete(extras...); err != nil {
		t.Fatal(err)
	}
}
