package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
)

func TestMain(m *testing.M) {
	if os.Getenv(envDir) != "" { // the demo, which the test has executed
		main()
		return
	}
	testutil.Main(m)
}

// TestRootWordPress runs the demo and looks at what it has shown. What it shows it tests itself: each page that is asked for must
// be the article as it was posted, each picture the one that was uploaded, each wake one from the tier.
func TestRootWordPress(t *testing.T) {
	testutil.Privileged(t)
	result := filepath.Join(t.TempDir(), "report.json")
	slow := testutil.Timeout(time.Second).Seconds()
	args := []string{
		"-fcnode", testutil.Program(t, "fcnode"), "-apps", filepath.Dir(apps.Root(t, "wordpress")), "-report", result,
		"-scale", fmt.Sprint(2 * slow), "-rate", fmt.Sprint(max(0.5, 5/slow)),
	}
	told := lines{t: t}
	if err := command(t.Context(), args, &told, &told); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	wantTiers(t, got)
	if got.Requests == 0 || len(got.Failed) > 0 {
		t.Errorf("%d requests while the site circulated, of which failed: %v", got.Requests, got.Failed)
	}
	if want := []string{"1", "2"}; !slices.Equal(got.Releases, want) {
		t.Errorf("visitors have seen the releases %q, want %q", got.Releases, want)
	}
}

// lines logs what is written to it as it comes: who watches an emulated machine takes one that says nothing for minutes to hang.
type lines struct {
	t    testing.TB
	rest []byte
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.rest = rest
		if len(line) > 0 {
			l.t.Logf("%s", line)
		}
	}
}

// wantTiers looks for a wake from each tier that this machine has.
func wantTiers(t *testing.T, r report) {
	t.Helper()
	lacks := map[detect.Tier][]string{
		detect.TierFrozen: nil, detect.TierPrepared: nil, detect.TierCold: nil,
		detect.TierReclaimed:    {"memory controller", "swap"},
		detect.TierCheckpointed: {"CRIU"},
	}
	for tier, features := range lacks {
		shown := slices.ContainsFunc(r.Wakes, func(w wake) bool { return w.Tier == tier && w.FirstByte > 0 })
		able := !slices.ContainsFunc(features, func(f string) bool { return !testutil.Has(t, f) })
		switch {
		case able && !shown:
			t.Errorf("there was no wake from %s: %s", tier, r.Missing[tier])
		case !able && shown:
			t.Errorf("there was a wake from %s, though this machine cannot", tier)
		case !able && r.Missing[tier] == "":
			t.Errorf("nobody was told why there was no wake from %s", tier)
		}
	}
}

// TestSpec: what the scenario writes is a spec, also after the tier has changed.
func TestSpec(t *testing.T) {
	text := "name: blog\nimage: " + imageOf("1") + "\nports: [80]\n" + first.further()
	for _, tier := range []string{"frozen", "cold"} {
		text = sleeping(text, tier)
		sites, err := spec.Parse("blog.yaml", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := sites[0].Tiers.Rungs; len(got) != 1 || got[0].Tier != tier {
			t.Errorf("the tiers are %v, want %s alone:\n%s", got, tier, text)
		}
		if len(sites[0].Schedule) > 0 || len(sites[0].Network.Allow) != 1 {
			t.Errorf("the schedule is %v, the network %v:\n%s", sites[0].Schedule, sites[0].Network, text)
		}
	}
}

// TestDocument: docs/wordpress.md says what the scenario does.
func TestDocument(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "wordpress.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := strings.NewReplacer(" \\\n", " ", "    ", "").Replace(string(raw)) // as a shell reads it
	want := []string{
		"fcnode " + strings.Join(first.deploy("1"), " "),
		"fcnode deploy blog --image " + imageOf("2"),
		first.sql(), first.further(),
	}
	for _, text := range want {
		if !strings.Contains(page, text) {
			t.Errorf("docs/wordpress.md does not have\n%s", text)
		}
	}
}

// TestClasses: what docs/wordpress.md says of classes is a spec.
func TestClasses(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "wordpress.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range []string{"small", "standard", "business"} {
		_, row, _ := strings.Cut(string(raw), "| "+class+" |")
		row, _, _ = strings.Cut(row, "\n")
		text := "name: blog\nimage: " + imageOf("1") + "\nports: [80]\n"
		said := regexp.MustCompile("`([a-z]+: [^`]+)`").FindAllStringSubmatch(row, -1)
		for _, line := range said {
			text += line[1] + "\n"
		}
		if _, err := spec.Parse(class, strings.NewReader(text)); err != nil || len(said) == 0 {
			t.Errorf("%v:\n%s", err, text)
		}
	}
}

// TestBlob: a layer is told by the digests beside its file.
func TestBlob(t *testing.T) {
	name := filepath.Join(t.TempDir(), "layer")
	for file, text := range map[string]string{
		".tar.gz": "packed", ".tar.gz.sha256": strings.Repeat("a", 64) + "  -\n", ".tar.sha256": strings.Repeat("b", 64) + "  -\n",
	} {
		if err := os.WriteFile(name+file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := blob(name)
	digest, err := b.Digest()
	if err != nil || digest.Hex != strings.Repeat("a", 64) {
		t.Errorf("the digest is %v (%v)", digest, err)
	}
	diff, err := b.DiffID()
	if err != nil || diff.Hex != strings.Repeat("b", 64) {
		t.Errorf("the diff id is %v (%v)", diff, err)
	}
	if size, err := b.Size(); err != nil || size != int64(len("packed")) {
		t.Errorf("the size is %d (%v)", size, err)
	}
	if _, err := blob(name + "-not").Digest(); err == nil {
		t.Error("a layer that is not there has a digest")
	}
}
