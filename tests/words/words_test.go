// Package words holds the repository to docs/words.md: retired words stay out,
// and nothing cites a file that is not there.
package words

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// retired are words, or meanings of words, that docs/words.md replaces.
var retired = []struct {
	pattern *regexp.Regexp
	say     string
	below   []string // empty: everywhere
}{
	{regexp.MustCompile(`(?i)\bsinking|[a-z]Sinking|\bsunk\b|\bsinks? to\b`), "suspend; the sink is a namespace", nil},
	{regexp.MustCompile("[Rr]ising\\b.*(State|state)|\"rising\"|`rising`|\\bRising"), "resuming", nil},
	{regexp.MustCompile(`\b[Ss]ettl(e|ed|es|ing)\b`), "what the thing is: portGrace, idle, pause, quiet", nil},
	{regexp.MustCompile(`(?i)(^|[^_"/])journal($|[^c"])`), "event log, or sysctl log", nil},
	{regexp.MustCompile(`(?i)\b(un)?forg[eo]t`), "what is done: remove, unpin, close, reset", nil},
	{regexp.MustCompile(`(?i)restor`), "put back (a setting); restore is CRIU's", []string{"netctl", "bpf"}},
	{regexp.MustCompile(`(?i)\bgate`), "restoreApproval; a gate is a prepared container's", []string{"criu"}},
	{regexp.MustCompile(`(?i)\btakes? turns\b|\btheir turns?\b|\bits turns?\b`), "slot; a turn is a request and its answer", []string{"docs/tiers.md", "docs/scaling.md", "docs/configuration.md", "runtime/config", "runtime/priority"}},
}

// cited is how files of the repository are named in texts.
var cited = regexp.MustCompile(`(?:^|[^<\w/])((?:bpf|cmd|detect|docs|internal|netctl|packaging|runtime|tests)/[A-Za-z0-9_/.-]*[A-Za-z0-9_]\.(?:go|c|h|md|sh|json|yaml))\b|\b([A-Z]{3,}\.md)\b`)

// link is a link of a page to another one.
var link = regexp.MustCompile(`\]\(([^):#]+)(?:#[^)]*)?\)`)

// exempt: the words themselves, what has been released, and what is not prose.
func exempt(path string) bool {
	return slices.Contains([]string{"docs/words.md", "CHANGELOG.md", "tests/words/words_test.go"}, path)
}

func TestRetiredWords(t *testing.T) {
	each(t, func(path, text string) {
		if exempt(path) {
			return
		}
		for i, line := range strings.Split(text, "\n") {
			for _, r := range retired {
				if len(r.below) > 0 && !below(path, r.below) {
					continue
				}
				if found := r.pattern.FindString(line); found != "" && !strings.Contains(line, "systemd's journal") {
					t.Errorf("%s:%d: %q: say %s (docs/words.md)\n\t%s", path, i+1, found, r.say, strings.TrimSpace(line))
				}
			}
		}
	})
}

func TestCitedFilesExist(t *testing.T) {
	files := map[string]bool{}
	each(t, func(path, _ string) { files[path] = true })
	each(t, func(path, text string) {
		if exempt(path) {
			return
		}
		for _, m := range cited.FindAllStringSubmatch(text, -1) {
			name := cmp.Or(m[1], m[2])
			if _, err := os.Stat(filepath.Join(root, name)); err != nil && !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s cites %s, which does not exist", path, name)
			}
		}
		if filepath.Ext(path) != ".md" {
			return
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links %s, which does not exist", path, m[1])
			}
		}
	})
	for _, path := range []string{"README.md", "docs/architecture.md"} {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil || !strings.Contains(string(text), "words.md)") {
			t.Errorf("%s does not link the glossary (%v)", path, err)
		}
	}
}

// TestRetiredPatterns: each pattern finds what it is there for, and leaves
// ordinary English alone.
func TestRetiredPatterns(t *testing.T) {
	find := func(line string) bool {
		return slices.ContainsFunc(retired, func(r struct {
			pattern *regexp.Regexp
			say     string
			below   []string
		}) bool {
			return len(r.below) == 0 && r.pattern.MatchString(line)
		})
	}
	for _, line := range []string{
		"func (m *Machine) settle() {", "StateSinking", "when the site sinks to its first tier", `ReplicaRising = "rising"`, "the node's journal",
		"type journal struct {", "n.journal.save()", "forgetDump", "DetachReplica forgets the pin", "func (c *Container) forget() {",
	} {
		if !find(line) {
			t.Errorf("%q is let through", line)
		}
	}
	for _, line := range []string{
		"journalctl -u fcnode", "mkfs -O ^has_journal", "the sink answers", "a packet to the sink", "while load is rising", "settings", "comparison", "a turn of the connection", "sinkhole",
	} {
		if find(line) {
			t.Errorf("%q is taken for a retired word", line)
		}
	}
}

func below(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") })
}

// each calls f for each text of the repository, by its path.
func each(t *testing.T, f func(path, text string)) {
	t.Helper()
	kinds := []string{".go", ".c", ".h", ".md", ".sh", ".json", ".yaml", ".yml", ".service", ".golden"}
	found := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", ".vagrant"}, path) || d.Name() == "fuzz" {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !slices.Contains(kinds, filepath.Ext(path)) && d.Name() != "Makefile" && d.Name() != "Vagrantfile" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		found++
		f(path, string(text))
		return nil
	})
	if err != nil || found < 300 {
		t.Fatalf("%d texts read: %v", found, err)
	}
}
