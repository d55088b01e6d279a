package api

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

// groupsOfTest are those that the tests' machine has.
func groupsOfTest(name string) (uint32, bool) {
	gid, ok := map[string]uint32{"watchers": 71, "operators": 72, "admins": 73}[name]
	return gid, ok
}

func accessOfTest() Access {
	return Access{Read: []string{"watchers", "nobody-has-made-this"}, Operate: []string{"operators"}, Admin: []string{"admins"}, Lookup: groupsOfTest}
}

// someone is a peer of another user than root.
func someone(gid uint32, groups ...uint32) *peer {
	return &peer{Ucred: unix.Ucred{Uid: 65534, Gid: gid, Pid: 1}, groups: groups}
}

func TestRoles(t *testing.T) {
	a := accessOfTest()
	root := &peer{Ucred: unix.Ucred{Uid: 0, Gid: 71}}
	for what, c := range map[string]struct {
		access Access
		p      *peer
		want   Role
	}{
		"nothing is said":             {Access{}, someone(1), RoleAdmin},
		"nothing is said, not known":  {Access{}, nil, RoleAdmin},
		"root":                        {a, root, RoleAdmin},
		"not known":                   {a, nil, RoleNone},
		"in no group":                 {a, someone(1, 2, 3), RoleNone},
		"its own group":               {a, someone(71), RoleRead},
		"a supplementary one":         {a, someone(1, 2, 72), RoleOperate},
		"the highest":                 {a, someone(71, 72, 73), RoleAdmin},
		"only admins, and it is none": {Access{Admin: []string{"admins"}, Lookup: groupsOfTest}, someone(72), RoleNone},
		"groups that are not there":   {Access{Admin: []string{"nobody-has-made-this"}, Lookup: groupsOfTest}, someone(0), RoleNone},
	} {
		if got := c.access.role(c.p); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

// TestEachCallTakesItsRole: each call is answered to who has its least role or a higher one, and forbidden to all others, before
// anything of it is read or done.
func TestEachCallTakesItsRole(t *testing.T) {
	s := NewServer(nil, slog.New(slog.DiscardHandler)) // a call that gets through panics
	s.Restrict(accessOfTest())
	calls := s.guarded(s.routes())
	peers := map[Role]*peer{RoleNone: someone(1), RoleRead: someone(71), RoleOperate: someone(72), RoleAdmin: someone(73)}
	for pattern, needed := range least {
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = "PUT", "/no/such/call"
		}
		path = strings.NewReplacer("{site}", "a", "{volume}", "b").Replace(path)
		for has, p := range peers {
			for _, m := range slices.Compact([]string{method, strings.Replace(method, "GET", "HEAD", 1)}) {
				r := httptest.NewRequest(m, path, strings.NewReader("{")).WithContext(context.WithValue(t.Context(), peerKey{}, p))
				w := httptest.NewRecorder()
				calls.ServeHTTP(w, r)
				if forbidden := w.Code == http.StatusForbidden; forbidden != (has < needed) {
					t.Errorf("%s %s by role %s: status %d, and it takes %s", m, path, has, w.Code, needed)
				}
			}
		}
	}
}

// TestRolesAreDocumented: docs/api.md says of each call which role it takes, and of no others.
func TestRolesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for pattern, role := range least {
		if pattern == "/" {
			continue
		}
		row, _, found := strings.Cut(string(page)[max(0, strings.Index(string(page), "| `"+pattern+"` |")):], "\n")
		if !found || !strings.HasPrefix(row, "| `"+pattern+"` | "+role.String()+" |") {
			t.Errorf("docs/api.md: no row that begins with | `%s` | %s |", pattern, role)
		}
	}
}

// gets is a backend with one site.
type gets struct{ Backend }

func (gets) Get(context.Context, string) (Site, error) {
	had := func(password string) *spec.Site {
		return &spec.Site{Name: "a", Env: map[string]string{"PASSWORD": password}}
	}
	return Site{Name: "a", Spec: had("hunter2"), Versions: []Version{{Revision: 2, Spec: had("hunter1")}, {Revision: 1, Spec: had("hunter0")}}}, nil
}

// TestEnvironmentIsForAdmins: what is in a site's environment, or was before, is not shown to those who could not put it there.
func TestEnvironmentIsForAdmins(t *testing.T) {
	s := NewServer(gets{}, slog.New(slog.DiscardHandler))
	s.Restrict(accessOfTest())
	for gid, sees := range map[uint32]bool{71: false, 72: false, 73: true} {
		r := httptest.NewRequest(http.MethodGet, "/v1/sites/a", nil).WithContext(context.WithValue(t.Context(), peerKey{}, someone(gid)))
		w := httptest.NewRecorder()
		s.routes().ServeHTTP(w, r)
		got := w.Body.String()
		if w.Code != http.StatusOK || strings.Count(got, "PASSWORD") != 3 {
			t.Errorf("group %d: status %d, %s", gid, w.Code, got)
		}
		for _, password := range []string{"hunter0", "hunter1", "hunter2"} {
			if strings.Contains(got, password) != sees {
				t.Errorf("group %d: %s is shown: %t; %s", gid, password, !sees, got)
			}
		}
	}
}

// TestPeersRoleIsThatOfItsProcess: who connects has the groups of the process that does, its supplementary ones too; a role that he
// claims in a header is not one. Run as root the test connects as other users; else as itself.
func TestPeersRoleIsThatOfItsProcess(t *testing.T) {
	dir, err := os.MkdirTemp("", "fcnode-roles")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := NewServer(nil, slog.New(slog.NewTextHandler(&log, nil)))
	s.Restrict(accessOfTest())
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	defer func() {
		cancel()
		if err := testutil.Receive(t, 10*time.Second, "the server's end", served); err != nil {
			t.Error(err)
		}
	}()
	type who struct {
		uid, gid uint32
		groups   []uint32
	}
	many := make([]uint32, 500) // more than the first try asks for
	for i := range many {
		many[i] = uint32(1000 + i)
	}
	cases := map[string]struct {
		who  who
		want int // of a wake: forbidden below operate; else it reaches the backend, which there is not
	}{
		"nobody":           {who{65534, 65534, nil}, http.StatusForbidden},
		"a watcher":        {who{65534, 71, nil}, http.StatusForbidden},
		"an operator":      {who{65534, 65534, []uint32{5, 72}}, http.StatusInternalServerError},
		"one of 501":       {who{65534, 65534, slices.Concat(many, []uint32{72})}, http.StatusInternalServerError},
		"in none of 500":   {who{65534, 65534, many}, http.StatusForbidden},
		"root":             {who{0, 65534, nil}, http.StatusInternalServerError},
		"an admin's group": {who{65534, 73, nil}, http.StatusInternalServerError},
	}
	if os.Getuid() != 0 {
		cases = map[string]struct {
			who  who
			want int
		}{"the test itself": {who{uint32(os.Getuid()), uint32(os.Getgid()), nil}, http.StatusForbidden}}
	}
	for what, c := range cases {
		conn, err := connectAs(path, c.who.uid, c.who.gid, c.who.groups)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://fcnode/v1/sites/a/wake", nil)
		r.Header.Set("X-Role", "admin")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		_ = answer.Body.Close()
		client.CloseIdleConnections()
		if answer.StatusCode != c.want {
			t.Errorf("%s: status %d, want %d", what, answer.StatusCode, c.want)
		}
	}
}

// connectAs connects on a thread that has become somebody else, and is thrown away.
func connectAs(path string, uid, gid uint32, groups []uint32) (net.Conn, error) {
	type outcome struct {
		conn net.Conn
		err  error
	}
	over := make(chan outcome)
	go func() {
		runtime.LockOSThread() // never unlocked
		conn, err := func() (net.Conn, error) {
			if int(uid) != os.Getuid() || os.Getuid() == 0 {
				if err := becomeOnThread(uid, gid, groups); err != nil {
					return nil, err
				}
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			f := os.NewFile(uintptr(fd), path)
			defer f.Close()
			if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
				return nil, fmt.Errorf("connect: %w", err)
			}
			return net.FileConn(f)
		}()
		over <- outcome{conn, err}
	}()
	o := <-over
	return o.conn, o.err
}
