package main

import (
	"context"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

func exampleRoutes() []api.RouteUpdate {
	addr := []netip.Addr{netip.MustParseAddr("10.77.0.12")}
	return []api.RouteUpdate{
		{Version: api.RoutesVersion},
		{Route: &api.Route{Site: "blog", Domains: []string{"blog.example", "old.example"}, Addresses: addr, Port: 80, HTTPS: "off", WWW: "apex"}},
		{Route: &api.Route{Site: "shop", Domains: []string{"shop.example"}, Addresses: addr, ProxyProtocol: "v2", Port: 8080}},
		{Synced: true},
	}
}

func TestRoutes(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{routes: exampleRoutes()})
	code, stdout, stderr := c.run(t, "routes")
	want := `DOMAIN        SITE  UPSTREAM         HTTPS  WWW
blog.example  blog  10.77.0.12:80    off    apex
old.example   blog  10.77.0.12:80    off    apex
shop.example  shop  10.77.0.12:8080  none   none
`
	if code != 0 || stdout != want || stderr != "" {
		t.Errorf("exit code %d, stderr %s, stdout\n%s", code, stderr, stdout)
	}
	code, stdout, _ = c.run(t, "routes", "-o", "json")
	if code != 0 || strings.Count(stdout, "\n") != 4 {
		t.Errorf("exit code %d, stdout\n%s", code, stdout)
	}
	code, stdout, stderr = c.run(t, "routes", "-o", "nginx")
	if code != 0 || !strings.Contains(stdout, "server_name blog.example;") || !strings.Contains(stderr, "shop is left out: nginx does not send the PROXY") {
		t.Errorf("exit code %d, stderr %s, stdout\n%s", code, stderr, stdout)
	}
}

func TestRoutesUsage(t *testing.T) {
	for _, args := range [][]string{
		{"-o", "iis"}, {"--write", "f"}, {"-o", "nginx", "--hook", "true"}, {"-o", "nginx", "-f"}, {"-o", "nginx", "--certificate", "c"},
		{"--certificate", "c", "--key", "k"}, {"blog"},
	} {
		if code, _, stderr := newCLI(t).run(t, append([]string{"routes"}, args...)...); code != exitUsage {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
	}
}

// A file is written and the hook run only when there is something new; a hook that fails is an error.
func TestRoutesWrite(t *testing.T) {
	dir := t.TempDir()
	file, ran := filepath.Join(dir, "fcnode.conf"), filepath.Join(dir, "ran")
	c := newCLI(t).serve(t, &recorded{routes: exampleRoutes()})
	args := []string{"routes", "-o", "caddy", "--write", file, "--hook", "cat " + file + " >> " + ran}
	for range 2 {
		if code, stdout, stderr := c.run(t, args...); code != 0 || stdout != "" || stderr != "" {
			t.Fatalf("exit code %d, stdout %s, stderr %s", code, stdout, stderr)
		}
	}
	text, err := os.ReadFile(ran)
	if err != nil || strings.Count(string(text), "http://blog.example {") != 1 {
		t.Errorf("the hook saw %s, %v", text, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	args[len(args)-1] = "echo no >&2; false"
	if code, _, stderr := c.run(t, args...); code != exitFailure || !strings.Contains(stderr, "no\n") || !strings.Contains(stderr, "the hook failed") {
		t.Errorf("exit code %d, stderr %s", code, stderr)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".fcnode*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if code, _, _ := c.run(t, "routes", "-o", "caddy", "--write", filepath.Join(dir, "none", "x")); code != exitFailure {
		t.Errorf("a file that cannot be written: exit code %d", code)
	}
}

// changing is a backend whose routes change while they are followed.
type changing struct {
	recorded
	more chan api.RouteUpdate
}

func (b *changing) Routes(ctx context.Context, follow bool) iter.Seq2[api.RouteUpdate, error] {
	return func(yield func(api.RouteUpdate, error) bool) {
		for _, u := range b.routes {
			if !yield(u, nil) {
				return
			}
		}
		for follow {
			select {
			case u := <-b.more:
				if !yield(u, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// A file that follows the routes has each change in it, and outlives a hook that fails.
func TestRoutesFollow(t *testing.T) {
	dir := t.TempDir()
	file, ran := filepath.Join(dir, "fcnode.conf"), filepath.Join(dir, "ran")
	b := &changing{recorded: recorded{routes: exampleRoutes()}, more: make(chan api.RouteUpdate)}
	c := newCLI(t).serve(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, &c.env, []string{"routes", "-o", "caddy", "-f", "--write", file, "--hook", "echo x >> " + ran + "; false"})
	}()
	until := func(has, hasNot string) {
		t.Helper()
		testutil.WaitFor(t, patience, "the file to have "+has, func() error {
			text, err := os.ReadFile(file)
			if err == nil && (!strings.Contains(string(text), has) || hasNot != "" && strings.Contains(string(text), hasNot)) {
				err = os.ErrNotExist
			}
			return err
		})
	}
	until("blog.example", "new.example")
	r := *exampleRoutes()[1].Route
	r.Site, r.Domains = "new", []string{"new.example"}
	b.more <- api.RouteUpdate{Route: &r}
	until("new.example", "")
	b.more <- api.RouteUpdate{Gone: "blog"}
	until("new.example", "blog.example")
	testutil.WaitFor(t, patience, "the hook to have run thrice", func() error {
		if text, err := os.ReadFile(ran); err != nil || strings.Count(string(text), "x") != 3 {
			return os.ErrNotExist
		}
		return nil
	})
	cancel()
	if code := testutil.Receive(t, patience, "the command's end", ended); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
}
