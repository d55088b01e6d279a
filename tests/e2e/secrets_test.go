package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// putSecret writes a secret of the node's, as its administrator does.
func (n *node) putSecret(name, content string) {
	n.t.Helper()
	path := n.path("secrets/" + name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path+".new", []byte(content), 0o600), os.Rename(path+".new", path)); err != nil {
		n.t.Fatal(err)
	}
}

// TestRootSecrets: a site has its secrets on each tier, and those of now after they have changed. Nobody else has them: no file of the node's but a checkpoint, which
// is root's alone, no answer of the API, and not the daemon's log.
func TestRootSecrets(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	n.configure(options{more: "secretRoots: [" + n.path("secrets") + "]"})
	n.start()
	n.putSecret("db", "hunter2-one\n")
	n.putSecret("tls/key", "hunter2-key")
	n.refusesSecrets(t)
	secrets := "secrets: [db, {name: tls, target: /etc/tls}, {name: db, env: DB_PASSWORD}]"
	tiers := map[api.Tier]string{api.TierFrozen: "outdated", api.TierPrepared: "outdated", api.TierCold: ""}
	if _, err := criu.Find(t.Context(), ""); err == nil {
		tiers[api.TierCheckpointed] = "checkpoint-dropped"
	} else if !errors.Is(err, criu.ErrUnavailable) {
		t.Fatal(err)
	}
	sites := map[api.Tier]*site{}
	for tier := range tiers {
		sites[tier] = n.deploy(string(tier), "idle: 1s", "tiers: ["+string(tier)+"]", "checkpoint: {warm: 1}", secrets)
	}
	has := func(s *site, db string) {
		t.Helper()
		if got := s.pull("/run/secrets/db"); got != db+"\n" {
			t.Errorf("%s: the file is %q, want %q", s.name, got, db)
		}
		if got := n.outside.mustGet(s.addr4(80), "/env?name=DB_PASSWORD").body; got != db {
			t.Errorf("%s: the environment is %q, want %q", s.name, got, db)
		}
		if got := s.pull("/etc/tls/key"); got != "hunter2-key" {
			t.Errorf("%s: the key is %q", s.name, got)
		}
	}
	visit := func(db string, told int) {
		t.Helper()
		for tier, s := range sites {
			has(s, db)
			if got := kinds(s.events(0), tiers[tier]); tiers[tier] != "" && len(got) != told {
				t.Errorf("%s: %q are told, want %d: %q", s.name, got, told, s.story(0))
			}
		}
		for tier, s := range sites {
			s.awaitTier(tier)
		}
		n.tellsNobody("hunter2")
	}
	visit("hunter2-one", 0) // from cold
	visit("hunter2-one", 0) // and from where they sleep
	n.putSecret("db", "hunter2-two\n")
	visit("hunter2-two", 1)

	awake := n.deploy("awake", "idle: never", secrets)
	has(awake, "hunter2-two")
	n.putSecret("db", "hunter2-three\n")
	has(awake, "hunter2-two")
	n.tellsNobody("hunter2")
	mark := n.mark()
	awake.circulate()
	awake.await(mark, "draining")
	has(awake, "hunter2-three")

	// What is exposed later is given to nobody.
	if err := os.Chmod(n.path("secrets/db"), 0o644); err != nil {
		t.Fatal(err)
	}
	mark = n.mark()
	if _, err := n.outside.connect(sites[api.TierCold].addr4(80)); err == nil {
		t.Error("a site starts with a secret that everybody can read")
	}
	if ev := sites[api.TierCold].await(mark, "failed"); !strings.Contains(ev.Reason, "chmod 0600") {
		t.Errorf("the event says %q", ev.Reason)
	}
	n.tellsNobody("hunter2")
}

// refusesSecrets applies specs whose secrets cannot be had.
func (n *node) refusesSecrets(t *testing.T) {
	t.Helper()
	line := strings.Count(n.spec("bad"), "\n") + 2
	for secret, why := range map[string]string{
		"none": "no such file", "{name: x, source: /etc/passwd}": "secretRoots", "{name: tls, env: TLS}": "is a folder",
	} {
		file := n.write("bad.yaml", n.spec("bad")+"secrets:\n  - "+secret+"\n")
		says(t, "apply", n.cliFails("apply", "-f", file), fmt.Sprintf("%s:%d:", file, line), "secrets[0]", why)
	}
	if got := n.list(); len(got) > 0 {
		t.Errorf("applied: %q", got)
	}
}

// tellsNobody looks for a text in all that the node writes and says.
func (n *node) tellsNobody(text string) {
	t := n.t
	t.Helper()
	checkpoints := n.path("state/checkpoints")
	for _, dir := range []string{n.path("state"), n.path("sites"), n.run(""), n.path("daemon.log")} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil //nolint:nilerr // what goes away meanwhile, or is not there
			}
			b, err := os.ReadFile(path)
			if err == nil && strings.Contains(string(b), text) && !strings.HasPrefix(path, checkpoints+"/") {
				t.Errorf("%s has a secret", path)
			}
			return nil
		})
	}
	if fi, err := os.Stat(checkpoints); err == nil && fi.Mode().Perm() != 0o700 {
		t.Errorf("the folder of checkpoints has mode %o", fi.Mode().Perm())
	}
	var said []any
	add := func(v any, err error) {
		if err != nil {
			t.Error(err)
		}
		said = append(said, v)
	}
	list, err := n.api.List(n.ctx())
	add(list, err)
	for _, s := range list {
		add(n.api.Get(n.ctx(), s.Name))
		add(n.cli("get", s.Name), nil)
		add(n.cli("why", s.Name), nil)
		add(n.cli("logs", s.Name), nil)
		add(n.cli("trace", s.Name), nil)
	}
	add(n.cli("events", "-o", "json"), nil)
	add(n.cli("metrics"), nil)
	b, err := json.Marshal(said)
	if err != nil || strings.Contains(string(b), text) {
		t.Errorf("the API tells a secret (%v): %.4000s", err, b)
	}
}
