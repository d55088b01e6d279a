package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// most bounds what a guest takes, where the kernel bounds nothing.
const most = 70000

// takers take one of what there is in the kernel for all of root's processes together.
var takers = map[string]func() error{
	"inotify": func() error {
		_, err := unix.InotifyInit1(0)
		return err
	},
	"aio": func() error {
		var ctx uintptr
		_, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 512, uintptr(unsafe.Pointer(&ctx)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	},
	"pty": func() error {
		_, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
		return err
	},
	"files": func() error {
		_, err := unix.Open("/", unix.O_PATH, 0)
		return err
	},
	"pids": func() error {
		cmd := exec.Command("/proc/self/exe") // the guest itself, which does not end
		cmd.Env = []string{envGuest + "=deaf"}
		return cmd.Start()
	},
}

func exhaust(w http.ResponseWriter, r *http.Request) {
	take := takers[r.FormValue("what")]
	for i := range most {
		if err := take(); err != nil {
			fmt.Fprintf(w, "%d %v", i, err)
			return
		}
	}
	fmt.Fprintf(w, "%d and no end", most)
}

// TestRootExhaustedTables: a site that takes all there is of what the kernel counts for root as a whole keeps
// neither the next daemon from starting nor other sites from being woken. Until there are user namespaces the
// daemon's share is the sites' too.
func TestRootExhaustedTables(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{})
	calm, parked := n.deploy("calm"), n.deploy("parked")
	n.outside.greet(calm.addr4(80))
	pid := calm.pid()
	tables := []string{"inotify", "aio", "pty", "files"}
	if testutil.Has(t, "pids controller") { // else nothing would bound it but the machine
		tables = append(tables, "pids")
	}
	for _, what := range tables {
		greedy := n.deploy("greedy-"+what, "limits: {pids: 64}")
		taken := n.outside.mustGet(greedy.addr4(80), "/exhaust?what="+what).body
		t.Logf("%s: %s", what, taken)
		if strings.HasPrefix(taken, "0 ") {
			t.Errorf("%s: a site gets none at all: %s", what, taken)
		}
		if what == "inotify" {
			checkNoInotify(t)
		}
		mark := n.mark()
		n.kill()
		n.start()
		n.outside.greet(calm.addr4(80))
		if now := calm.pid(); now != pid {
			t.Errorf("%s: process %d of another site became %d", what, pid, now)
		}
		parked.park()
		n.outside.greet(parked.addr4(80))
		n.local.greet(parked.addr6(80))
		if ev := kinds(greedy.events(mark), "adopted", "quarantined"); len(ev) != 1 {
			t.Errorf("%s: of the site that took all is told %q", what, ev)
		}
		follow(t, calm)
		greedy.park()
		if err := n.api.Delete(n.ctx(), greedy.name); err != nil {
			t.Error(err)
		}
	}
}

// checkNoInotify: the test is in the same boat as the daemon.
func checkNoInotify(t *testing.T) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err == nil {
		t.Error("there are inotify instances left")
		_ = unix.Close(fd)
	}
}

// follow follows a log until a new line comes.
func follow(t *testing.T, s *site) {
	t.Helper()
	text := fmt.Sprintf("line-%d", os.Getpid())
	ctx := testutil.Context(t, patience)
	printed := false
	for line, err := range s.n.api.Logs(ctx, s.name, api.LogOptions{Tail: 1, Follow: true}) {
		if err != nil {
			t.Errorf("following a log: %v", err)
			return
		}
		if line.Text == text {
			return
		}
		if !printed {
			s.n.outside.mustGet(s.addr4(80), "/print?out="+text)
			printed = true
		}
	}
	t.Error("a new line of the log does not come")
}
