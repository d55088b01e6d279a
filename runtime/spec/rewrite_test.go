package spec

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFormat holds that what is written is read as what it was.
func TestFormat(t *testing.T) {
	least := parseOne(t, required)
	odd := least
	odd.Name, odd.Hostname = "n", "n"
	odd.Env = map[string]string{"YES": "yes", "NUMBER": "010", "EXP": "1e3", "COLON": "a: b", "HASH": "a #b", "EMPTY": "", "TILDE": "~", "MANY": "two\nlines\t\"quoted\"", "TIME": "12:30", "html": "<&>", "no": "x"}
	odd.Command = []string{"-x", "[a]", "{b}", "*c", "&d", "!e", "%f", "@g", "`h", "null", " padded ", "é"}
	awake := least
	awake.Scale.Min, awake.Idle = 1, Idle{Never: true}
	for _, s := range []Site{least, everythingSite, odd, awake} {
		if _, err := s.Format(); err != nil {
			t.Errorf("%v", err)
		}
	}
	text, err := least.Format()
	if want := "name: blog\nimage: dir:/srv/blog\nports: [80/tcp]\n"; err != nil || string(text) != want {
		t.Errorf("the least site is written as %q: %v", text, err)
	}
	with := least
	with.Domains = []string{"blog.example.com"}
	with.Volumes = []Volume{{Name: "html", Target: "/var/www/html"}, {Source: "/srv/x", Target: "/x", ReadOnly: true}}
	with.Env = map[string]string{"B": "two words", "A": "1"}
	with.Idle = Idle{After: Duration(time.Minute)}
	text, err = with.Format()
	want := `name: blog
domains: [blog.example.com]
image: dir:/srv/blog
env:
  A: "1"
  B: "two words"
ports: [80/tcp]
volumes:
  - {name: html, target: /var/www/html}
  - {source: /srv/x, target: /x, readOnly: true}
idle: 1m
`
	if diff := cmp.Diff(want, string(text)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func parseOne(t *testing.T, src string) Site {
	t.Helper()
	all, err := Parse("x", strings.NewReader(src))
	if err != nil {
		t.Fatalf("%s\n%v", src, err)
	}
	return all[len(all)-1]
}

func TestRewrite(t *testing.T) {
	const file = `# my blog
name: blog     # as ever
image: "reg.example/blog:1" # the tag
# where it answers
ports: [80]

env:
  # to the database
  DB_HOST: db   # by name
  "DB_PORT": '3306'
volumes:
- source: /srv/a   # first
  target: /a
# second
- {source: /srv/b, target: /b}
limits: {memory: 1GiB}
# the end
`
	tests := []struct {
		name   string
		change func(*Site)
		old    string // replaced by
		now    string
	}{
		{"nothing", func(*Site) {}, "", ""},
		{"a scalar", func(s *Site) { s.Image = "reg.example/blog:2" }, `"reg.example/blog:1"`, `reg.example/blog:2`},
		{"a scalar that needs quotes", func(s *Site) { s.Image = "dir:/a b" }, `"reg.example/blog:1"`, `"dir:/a b"`},
		{"a new field", func(s *Site) { s.Domains = []string{"a.example", "b.example"} }, "name: blog     # as ever\n", "name: blog     # as ever\ndomains: [a.example, b.example]\n"},
		{"a field in brackets", func(s *Site) { s.Ports = []Port{{Port: 443, Proto: "tcp"}} }, "ports: [80]", "ports: [443/tcp]"},
		{"a variable", func(s *Site) { s.Env["DB_HOST"] = "other" }, "DB_HOST: db ", "DB_HOST: other "},
		{"a variable in quotes", func(s *Site) { s.Env["DB_PORT"] = "3307" }, "'3306'", `"3307"`},
		{"another variable", func(s *Site) { s.Env["DEBUG"] = "x" }, "  \"DB_PORT\": '3306'\n", "  \"DB_PORT\": '3306'\n  DEBUG: x\n"},
		{"the first variable", func(s *Site) { s.Env["A"] = "x" }, "env:\n", "env:\n  A: x\n"},
		{"a variable less", func(s *Site) { delete(s.Env, "DB_PORT") }, "  \"DB_PORT\": '3306'\n", ""},
		{"another volume", func(s *Site) { s.Volumes = append(s.Volumes, Volume{Name: "c", Target: "/c"}) }, "- {source: /srv/b, target: /b}\n", "- {source: /srv/b, target: /b}\n- {name: c, target: /c}\n"},
		{"a volume changed", func(s *Site) { s.Volumes[0].ReadOnly = true }, "- source: /srv/a   # first\n  target: /a\n", "- {source: /srv/a, target: /a, readOnly: true}\n"},
		{"a volume less", func(s *Site) { s.Volumes = s.Volumes[:1] }, "- {source: /srv/b, target: /b}\n", ""},
		{"a field gone", func(s *Site) { s.Limits = defaults().Limits }, "limits: {memory: 1GiB}\n", ""},
		{"a list gone", func(s *Site) { s.Volumes = nil }, "volumes:\n- source: /srv/a   # first\n  target: /a\n# second\n- {source: /srv/b, target: /b}\n", ""},
		{"a short form", func(s *Site) { s.Limits.Memory.High = MiB }, "{memory: 1GiB}", "{memory: {high: 1MiB, max: 1GiB}}"},
		{"the last", func(s *Site) { s.ShmSize = MiB }, "limits: {memory: 1GiB}\n", "limits: {memory: 1GiB}\nshmSize: 1MiB\n"},
	}
	const other = "---\n# another\nname: other\nimage: dir:/other\nports: [80]\nvolumes: [{source: /srv/a, target: /a}]"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, src := range map[string]string{
				"alone": file, "after another": strings.TrimPrefix(other, "---\n") + "\n---\n" + file, "before another": file + other,
				"behind a mark": "\ufeff---\n" + file, "with CRLF": strings.ReplaceAll(file, "\n", "\r\n"),
			} {
				to := siteOf(t, src, "blog")
				tt.change(&to)
				old, now := tt.old, tt.now
				if strings.Contains(src, "\r") {
					old, now = strings.ReplaceAll(old, "\n", "\r\n"), strings.ReplaceAll(now, "\n", "\r\n")
				}
				at := strings.Index(src, "# my blog")
				want := src[:at] + strings.Replace(src[at:], old, now, 1)
				got, err := Rewrite("x", []byte(src), &to)
				if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
					t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
				}
			}
		})
	}
}

func siteOf(t *testing.T, src, name string) Site {
	t.Helper()
	all, err := Parse("x", strings.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s Site) bool { return s.Name == name })
	return all[i]
}

// TestRewriteAll has everything said by a text that says little, and taken back.
func TestRewriteAll(t *testing.T) {
	least := parseOne(t, required)
	for _, step := range []struct {
		src string
		to  Site
	}{
		{required, everythingSite},
		{everything, least},
		{everything, func() Site {
			s := everythingSite
			s.Limits.CPU.Max, s.Scale.Max, s.Busy.CPU, s.Health.Failures = 3, 5, 30, 6
			s.Env = map[string]string{"MOTD": "one", "PORT": "8080", "NEW": "x"}
			s.Command = []string{"apache2-foreground", "-Y", "-X"}
			return s
		}()},
		{strings.TrimSuffix(required, "\n"), everythingSite}, // without a newline at the end
	} {
		got, err := Rewrite("x", []byte(step.src), &step.to)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if is := parseOne(t, string(got)); is.Digest() != step.to.Digest() {
			t.Errorf("it says something else:\n%s", got)
		}
	}
	kept, err := Rewrite("x", []byte(everything), &everythingSite)
	if err != nil || string(kept) != everything {
		t.Errorf("nothing is to change, and the text does: %v\n%s", err, kept)
	}
}

func TestRewriteRefuses(t *testing.T) {
	least := parseOne(t, required)
	least.Image = "dir:/other"
	if _, err := Rewrite("x", []byte("name: another\nimage: dir:/a\nports: [80]\n"), &least); !errors.Is(err, ErrAbsent) {
		t.Errorf("a text without the site: %v", err)
	}
	if _, err := Rewrite("x", []byte(`{"name": "blog", "image": "dir:/a", "ports": [80]}`), &least); err == nil || !strings.Contains(err.Error(), "brackets") {
		t.Errorf("JSON: %v", err)
	}
	if _, err := Rewrite("x.yaml", []byte("name: blog\n  image: x\n"), &least); err == nil || !strings.Contains(err.Error(), "x.yaml:") {
		t.Errorf("no YAML: %v", err)
	}
}
