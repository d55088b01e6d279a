package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootVolumeSnapshots: snapshots of a site that writes all the time are each of one moment; they survive the daemon, the oldest go, and one takes
// the volume's place.
func TestRootVolumeSnapshots(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	disk := testutil.NewXFS(t)
	n := newNode(t, options{stateDir: filepath.Join(disk.Dir, "state")})
	s := n.keeping()
	const files = 8
	stop := s.writesRounds(files, func(i int) string { return fmt.Sprintf("/data/f%d", i) })
	for i := range 3 {
		says(t, "snapshot", n.cli("volume", "snapshot", "kept/data", fmt.Sprint("s", i)), fmt.Sprintf("kept/data@s%d  ", i), "stood still for")
	}
	if err := stop(); err != nil {
		t.Fatalf("a visitor of a site of which a snapshot is taken: %v", err)
	}
	for i := range 3 {
		numbers := make([]int, files)
		for f := range numbers {
			b, err := os.ReadFile(filepath.Join(disk.Dir, fmt.Sprintf("state/volumes/.snapshots/kept/data/s%d/data/f%d", i, f)))
			if err != nil {
				t.Fatal(err)
			}
			numbers[f] = -1
			if _, err := fmt.Sscan(string(b), &numbers[f]); err != nil && len(b) > 0 {
				t.Fatal(err)
			}
		}
		ofOneMoment(t, numbers)
	}

	n.kill()
	n.start()
	s.wrote("/data/file", "first")
	mark := n.mark()
	says(t, "snapshot", n.cli("volume", "snapshot", "kept/data", "last", "--keep", "2"), "kept/data@last", "kept/data@s0  removed", "kept/data@s1  removed")
	says(t, "the event", n.await(mark, "snapshot").Reason, "snapshot last of volume data")
	says(t, "snapshot", n.cliFails("volume", "snapshot", "kept/data", "last"), "there is a snapshot of that name")
	says(t, "inspect", n.cli("volume", "inspect", "kept/data"), "last, ", "s2, ")
	s.wrote("/data/file", "second")
	says(t, "restore", n.cliFails("volume", "restore", "kept/data@last"), "a replica of it runs", "--force")
	says(t, "restore", n.cli("volume", "restore", "kept/data@last", "--force"), "kept/data  is as its snapshot last")
	s.reads("restored", "/data/file", "first")
	says(t, "restore", n.cliFails("volume", "restore", "kept/data@gone", "--force"), "no such snapshot", "volume inspect")
	says(t, "remove", n.cli("volume", "remove", "kept/data@last", "kept/data@s2"), "kept/data@s2  removed")
	v, err := n.api.Volume(n.ctx(), "kept", "data")
	if err != nil || len(v.Snapshots) > 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestRootVolumeSnapshotsNot: where files cannot share blocks a snapshot is refused, and what to do instead is said.
func TestRootVolumeSnapshotsNot(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{stateDir: filepath.Join(testutil.NewDisk(t, 256<<20).Dir, "state")})
	n.keeping()
	says(t, "snapshot", n.cliFails("volume", "snapshot", "kept/data"), "cannot copy files by sharing their blocks", "fcnode volume backup kept/data FILE")
	if err := n.api.RemoveSnapshot(n.ctx(), "kept", "data", "../x"); !errors.Is(err, api.ErrInvalid) {
		t.Errorf("a snapshot outside: %v", err)
	}
}
