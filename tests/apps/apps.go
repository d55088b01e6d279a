// Package apps has real web applications for tests to run as sites: servers of the kinds that people host, from
// Debian's packages, each on a root file system of its own that build.sh makes (`make apps`).
package apps

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// EnvDir names the variable with the folder that build.sh has made; unset, it is asked for the one in its cache.
const EnvDir = "FCNODE_APPS"

// App is an application as it is deployed.
type App struct {
	Name    string
	Image   string // reference of a root folder
	Command []string
	Port    uint16
	Path    string // GET it: the answer has the count
	// Users tells that its processes belong to several users, so that restoring them takes CAP_SYS_RESOURCE, or a user namespace.
	Users bool
	// Processes is how many it has when it serves.
	Processes int
	// Signal ends it; "" is SIGTERM.
	Signal string

	count *regexp.Regexp
}

var counted = regexp.MustCompile(`^count (\d+)\n$`)

// table has the applications in the order of what they cost.
var table = []App{
	// Its runtime listens by MPTCP unless told not to, as each Go server's does.
	{Name: "go", Command: []string{"/site"}, Path: "/count", Processes: 1, count: counted},
	// Its count is that of its requests, in memory that its workers share.
	{Name: "nginx", Command: []string{"/usr/sbin/nginx"}, Path: "/count", Users: true, Processes: 3,
		count: regexp.MustCompile(`(?m)^ \d+ \d+ (\d+) $`)},
	{Name: "python", Command: []string{"/usr/bin/python3", "/srv/app.py"}, Path: "/count", Processes: 1, count: counted},
	// It heeds SIGINT only, as the first process of its container.
	{Name: "php", Command: []string{"/usr/bin/php", "-S", "[::]:80", "/srv/index.php"}, Path: "/count", Processes: 1, Signal: "SIGINT", count: counted},
	{Name: "node", Command: []string{"/usr/bin/node", "/srv/app.js"}, Path: "/count", Processes: 1, count: counted},
	{Name: "apache", Command: []string{"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", "/etc/apache2/site.conf"},
		Path: "/index.php", Users: true, Processes: 3, count: counted},
}

// All returns all of them, for a privileged test.
func All(t testing.TB) []App {
	t.Helper()
	testutil.Privileged(t)
	all := make([]App, 0, len(table))
	for _, a := range table {
		all = append(all, a.with(t))
	}
	return all
}

// Get returns one by its name.
func Get(t testing.TB, name string) App {
	t.Helper()
	testutil.Privileged(t)
	i := slices.IndexFunc(table, func(a App) bool { return a.Name == name })
	if i < 0 {
		t.Fatalf("there is no application %q", name)
	}
	return table[i].with(t)
}

// Root is the folder of a program of Debian's packages, an application or not, for a privileged test.
func Root(t testing.TB, name string) string {
	t.Helper()
	testutil.Privileged(t)
	root := filepath.Join(dir(t), name)
	if _, err := os.Stat(root); err != nil {
		t.Fatalf("%s is not built (make apps): %v", name, err)
	}
	return root
}

// Table returns all of them as they are in the table, without images, for programs that are no tests.
func Table() []App { return slices.Clone(table) }

// with completes an application by its image.
func (a App) with(t testing.TB) App {
	t.Helper()
	a.Port = 80
	root := filepath.Join(dir(t), a.Name)
	if a.Name == "go" {
		root = t.TempDir()
		program, err := os.ReadFile(testutil.Program(t, "fcnode-demo-site"))
		if err == nil {
			err = os.WriteFile(filepath.Join(root, "site"), program, 0o755) //nolint:gosec // a program
		}
		if err != nil {
			t.Fatal(err)
		}
	} else if _, err := os.Stat(root); err != nil {
		t.Fatalf("the application %s is not built (make apps): %v", a.Name, err)
	}
	a.Image = "dir:" + root
	return a
}

// dir is the folder of the root file systems.
func dir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv(EnvDir); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	// "current" is a link, and no image is reached by links.
	current, err := filepath.EvalSymlinks(filepath.Join(cache, "fcnode", "apps", "current"))
	if err != nil {
		t.Fatalf("the applications are not there (make apps): %v", err)
	}
	return filepath.Join(current, "root")
}

// Spec is the text of a site's spec that runs it; more are further lines of it.
func (a App) Spec(name string, more ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: %s\nimage: %s\ncommand: [", name, a.Image)
	for i, word := range a.Command {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", word)
	}
	fmt.Fprintf(&b, "]\nports: [%d/tcp]\n", a.Port)
	if a.Signal != "" {
		fmt.Fprintf(&b, "stop: {signal: %s}\n", a.Signal)
	}
	b.WriteString(strings.Join(more, "\n") + "\n")
	return b.String()
}

// Count reads the count from an answer: how many requests the running instance has answered, this one
// included. It starts at one with each start and goes on where it was after a sleep that keeps the processes.
func (a App) Count(body string) (int, error) {
	m := a.count.FindStringSubmatch(body)
	if m == nil {
		return 0, errors.New("the answer of " + a.Name + " has no count: " + strconv.Quote(body))
	}
	return strconv.Atoi(m[1])
}
