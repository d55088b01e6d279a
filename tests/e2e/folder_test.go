package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootSitesFolderIsGone: a folder of specs that is missing or empty, as one that is not mounted, deletes no site at a
// reload or a restart, nor does one that lacks most of its files, until it is said that this is meant; and sites whose
// files come back have their addresses again.
func TestRootSitesFolderIsGone(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	names := []string{"one", "two", "three"}
	for _, name := range names {
		n.write("sites/"+name+".yaml", n.spec(name))
	}
	n.start()
	before := n.list()
	one := n.find("one")
	n.outside.greet(one.addr4(80))
	pid := one.pid()
	addresses := map[string]*site{}
	for _, name := range names {
		addresses[name] = n.find(name)
	}
	unchanged := func(when string) {
		t.Helper()
		if after := n.list(); !slices.Equal(before, after) || one.pid() != pid {
			t.Errorf("%s: the sites were %q, and are %q", when, before, after)
		}
	}
	away := func(from, to string) {
		t.Helper()
		if err := os.Rename(n.path(from), n.path(to)); err != nil {
			t.Fatal(err)
		}
	}
	away("sites", "away")
	mark := n.mark()
	n.reload()
	if ev := n.await(mark, "invalid"); !strings.Contains(ev.Text, "fcnode reload --force") {
		t.Errorf("the event does not say what to do: %q", ev.Text)
	}
	unchanged("folder gone")
	n.kill()
	n.start()
	unchanged("folder gone at a start")
	says(t, "reload", n.cliFails("reload"), "does not exist", "3 of the 3 sites", "one, three, two", "fcnode reload --force")
	if err := os.Mkdir(n.path("sites"), 0o755); err != nil {
		t.Fatal(err)
	}
	says(t, "reload", n.cliFails("reload"), "has no files any more", "3 of the 3 sites")
	away("away/one.yaml", "sites/one.yaml")
	says(t, "reload", n.cliFails("reload"), "2 of the 3 sites", "three, two", "50%")
	unchanged("two of three gone")

	says(t, "reload", n.cli("reload", "--force"), "reloaded")
	if got := n.list(); len(got) != 1 {
		t.Errorf("forced: there are %q", got)
	}
	n.kill()
	n.start()
	n.deploy("other") // gets an address of nobody
	away("away/two.yaml", "sites/two.yaml")
	away("away/three.yaml", "sites/three.yaml")
	says(t, "reload", n.cli("reload"), "reloaded")
	says(t, "delete", n.cli("delete", "other"), "deleted")
	for name, want := range addresses {
		if is := n.find(name); is.v4 != want.v4 || is.v6 != want.v6 {
			t.Errorf("%s is back at %s and %s, and was at %s and %s", name, is.v4, is.v6, want.v4, want.v6)
		}
	}
}
