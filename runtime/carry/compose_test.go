package carry

import (
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// report is what came of a file: the specs, then the notes.
func report(t *testing.T, r Result, dir string) string {
	t.Helper()
	var out strings.Builder
	for i := range r.Sites {
		text, err := r.Sites[i].Format()
		if err != nil {
			t.Error(err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	out.WriteString("\n")
	for _, n := range r.Notes {
		out.WriteString("# " + strings.TrimPrefix(n.String(), dir+"/") + "\n")
	}
	return strings.ReplaceAll(out.String(), dir+"/", "/project/")
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (write it anew with -update; -want +got):\n%s", path, diff)
	}
}

func environment(name string) string {
	return map[string]string{"FROM_SHELL": "here"}[name]
}

func TestCompose(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.y*ml")
	if err != nil || len(files) < 10 {
		t.Fatalf("there are %d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			path, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Compose(t.Context(), ComposeFile{
				Path: path, Text: text, Getenv: environment,
				Ports: map[string][]spec.Port{"db": {{Port: 3306, Proto: "tcp"}}},
			}, "")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(filepath.Dir(file), "golden"), report(t, r, filepath.Dir(path)))
		})
	}
}

// TestComposeTellsAll: each setting that compose knows is carried over or told.
func TestComposeTellsAll(t *testing.T) {
	for _, key := range handled {
		if reasons[key] != "" || means[key] != "" {
			t.Errorf("%s is carried over, and told not to be", key)
		}
	}
	text := "services:\n  a:\n    image: example/a:1\n    ports: ['80']\n"
	for _, key := range slices.Sorted(maps.Keys(reasons)) {
		value, ok := map[string]string{
			"cgroup_parent": "x", "ipc": "host", "pid": "host", "privileged": "true", "tty": "true", "stdin_open": "true", "cpuset": "'0'", "cpu_shares": "512",
			"oom_score_adj": "5", "oom_kill_disable": "true", "mac_address": "'02:42:ac:11:00:02'", "labels": "{a: b}", "links": "[b]", "group_add": "['1']",
			"domainname": "example.org", "userns_mode": "host", "volumes_from": "[b]", "pull_policy": "always", "runtime": "runsc", "attach": "false",
		}[key]
		if ok {
			text += "    " + key + ": " + value + "\n"
		}
	}
	text += "  b:\n    image: example/b:1\n    ports: ['80']\n"
	r, err := Compose(t.Context(), ComposeFile{Path: "/x/compose.yaml", Text: []byte(text), Getenv: environment}, "a")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(text, "\n") {
		key, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		told := slices.ContainsFunc(r.Notes, func(n Note) bool { return n.Setting == key && n.Line == i+1 && n.Lost && n.Reason == reasons[key] })
		if reasons[key] != "" && !told {
			t.Errorf("line %d, %s, is not told: %v", i+1, key, r.Notes)
		}
	}
}

func TestComposeRefuses(t *testing.T) {
	for _, tt := range []struct{ text, service, message string }{
		{"services: [", "", "x.yaml"},
		{"services:\n  a:\n    image: a\n    colour: red\n", "", "colour"},
		{"services:\n  a:\n    image: ${A:?say it}\n", "", "say it"},
		{"services:\n  a:\n    image: a\n    env_file: none.env\n", "", "none.env"},
	} {
		_, err := Compose(t.Context(), ComposeFile{Path: "/x/x.yaml", Text: []byte(tt.text), Getenv: environment}, tt.service)
		if err == nil || !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.message)
		}
	}
	good := "services:\n  a:\n    image: a\n    ports: ['80']\n"
	if _, err := Compose(t.Context(), ComposeFile{Path: "/x/x.yaml", Text: []byte(good), Getenv: environment}, "b"); !errors.Is(err, ErrNoService) {
		t.Errorf("no such service: %v", err)
	}
}

// TestComposeOrder: notes of one line are always in the same order.
func TestComposeOrder(t *testing.T) {
	const text = `services:
  a: {image: example.com/a, ports: ['80'], environment: {HOSTS: "b:1,c:2,d:3"}, deploy: {mode: global, labels: {a: b}, update_config: {parallelism: 1}, rollback_config: {parallelism: 1}, endpoint_mode: vip}}
  b: {image: example.com/b}
  c: {image: example.com/c}
  d: {image: example.com/d}
`
	var want []Note
	for range 20 {
		r, err := Compose(t.Context(), ComposeFile{Path: "/x/x.yaml", Text: []byte(text), Getenv: environment}, "a")
		if err != nil || len(r.Notes) != 8 {
			t.Fatal(r.Notes, err)
		}
		if want == nil {
			want = r.Notes
		}
		if !slices.Equal(r.Notes, want) {
			t.Fatalf("%v, and at another time %v", want, r.Notes)
		}
	}
}
