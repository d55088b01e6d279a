// Package house holds the code to the sizes that docs/development.md promises: no
// type and no room may grow until nobody can read it.
package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// mostMethods of one type. One that needs more is several.
const mostMethods = 60

// The node opens, recovers, serves and shuts down; the rest has rooms of its own.
const (
	nodeDir     = "runtime/node"
	nodeLines   = 1200
	nodeMethods = 40
)

// lockInWords matches a comment that asks a caller to hold a lock. Take the lock in
// the function, or hand in what only its holder can have, as life.Live.
var lockInWords = regexp.MustCompile(`(?i)\bcallers?( must| has to)? (hold|own|lock|take)s?\b|\bmust (be called with|hold) [a-z. ]*(lock|mu)\b`)

// rooms are the folders of the top level that may have code.
var rooms = []string{"bpf", "cmd", "criu", "detect", "netctl", "runtime", "tests"}

func TestTopLevel(t *testing.T) {
	production(t, func(path string, _ *token.FileSet, _ *ast.File) {
		room, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		if !slices.Contains(rooms, room) {
			t.Errorf("%s: no code outside of %s", path, strings.Join(rooms, ", "))
		}
	})
}

// TestRoomsSayWhatTheyOwn: a stranger finds in doc.go whether a change belongs there.
func TestRoomsSayWhatTheyOwn(t *testing.T) {
	dirs := map[string]bool{}
	production(t, func(path string, _ *token.FileSet, _ *ast.File) {
		dir := filepath.ToSlash(filepath.Dir(path))
		if top, below, _ := strings.Cut(dir, "/"); !strings.Contains(below, "/") && below != "internal" && top != "cmd" && top != "tests" {
			dirs[dir] = true
		}
	})
	if len(dirs) < 20 {
		t.Fatalf("there are %d rooms", len(dirs))
	}
	for dir := range dirs {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, dir, "doc.go"), nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
		} else if len(strings.Fields(f.Doc.Text())) < 15 {
			t.Errorf("%s/doc.go says only %q", dir, f.Doc.Text())
		}
	}
}

func TestSizes(t *testing.T) {
	methods := map[string]int{} // by folder and type
	lines := 0
	production(t, func(path string, set *token.FileSet, f *ast.File) {
		dir := filepath.Dir(path)
		if dir == nodeDir {
			lines += set.File(f.Pos()).LineCount() - 1
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
				methods[dir+"."+receiver(fn.Recv.List[0].Type)]++
			}
		}
	})
	if lines > nodeLines {
		t.Errorf("%s has %d lines, may have %d: what does not open, recover, serve or shut down has a room of its own", nodeDir, lines, nodeLines)
	}
	for name, n := range methods {
		most := mostMethods
		if strings.HasPrefix(name, nodeDir+".") {
			most = nodeMethods
		}
		if n > most {
			t.Errorf("%s has %d methods, may have %d: which of them need only a part of it?", name, n, most)
		}
	}
	for _, known := range []string{"runtime/site.Machine", "runtime/life.Live", nodeDir + ".Node"} {
		if methods[known] < 10 {
			t.Errorf("%s has %d methods: is it still the type that is meant here?", known, methods[known])
		}
	}
}

func TestLocksAreValues(t *testing.T) {
	for line, is := range map[string]bool{
		"The caller holds e.mu.": true, "The caller must hold mu, or be alone.": true, "must be called with the lock": true,
		"With calls f with the site's lock held.": false, "held packets": false,
	} {
		if lockInWords.MatchString(line) != is {
			t.Errorf("%q: want %t", line, is)
		}
	}
	production(t, func(path string, set *token.FileSet, f *ast.File) {
		for _, group := range f.Comments {
			if found := lockInWords.FindString(strings.ReplaceAll(group.Text(), "\n", " ")); found != "" {
				t.Errorf("%s:%d: %q: a lock is not asked for in words", path, set.Position(group.Pos()).Line, found)
			}
		}
	})
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return "?"
		}
	}
}

// production calls f for each Go file that is neither a test nor generated.
func production(t *testing.T, f func(path string, set *token.FileSet, file *ast.File)) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "bin", "dist", ".vagrant", "tests"}, path) {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if !ast.IsGenerated(file) {
			found++
			f(path, set, file)
		}
		return nil
	})
	if err != nil || found < 300 {
		t.Fatalf("%d files read: %v", found, err)
	}
}

// bareGo are the files of the daemon's rooms that start goroutines without a guard,
// with the reason.
var bareGo = map[string]string{
	"runtime/api/server.go":     "net/http's own loop: calls are guarded one by one",
	"runtime/api/archives.go":   "of the command line",
	"runtime/api/forward.go":    "waits for ends, and closes connections",
	"runtime/api/metrics.go":    "closes a server",
	"runtime/api/execclient.go": "of the command line",
	"runtime/api/execserver.go": "guarded inside",
	"runtime/api/stream.go":     "cancels a context",
	"runtime/life/guard.go":     "the guard",
	"runtime/life/errand.go":    "copies what a command prints, of bounded speed and size",
	"runtime/life/outliving.go": "cancels a context",
	"runtime/life/inside.go":    "reads what a probe's command prints, into a bounded buffer",
	"runtime/scale/scale.go":    "its timer adds to a queue",
	"runtime/scale/urgent.go":   "readers that guard each evaluation",
	"runtime/sites/dir.go":      "cancels a context",
	"runtime/node/ignored.go":   "guards each connection",
	"runtime/node/run.go":       "loops that guard each thing that they do",
}

// TestGoroutinesAreGuarded: in the rooms where sites are handled, goroutines and timers begin with a guard, so that a panic is one
// site's and not the daemon's.
func TestGoroutinesAreGuarded(t *testing.T) {
	rooms := []string{"runtime/api", "runtime/inside", "runtime/life", "runtime/node", "runtime/policy", "runtime/scale", "runtime/sites", "runtime/status"}
	seen := map[string]bool{}
	production(t, func(path string, set *token.FileSet, f *ast.File) {
		path = filepath.ToSlash(path)
		if !slices.Contains(rooms, filepath.ToSlash(filepath.Dir(path))) {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if !startsGoroutine(n) {
				return true
			}
			seen[path] = true
			if bareGo[path] == "" {
				t.Errorf("%s: a goroutine without a guard: start it by Host.Go, Site.goDo or Site.goKeep, or say why not in bareGo", set.Position(n.Pos()))
			}
			return true
		})
	})
	for path := range bareGo {
		if !seen[path] {
			t.Errorf("%s starts no goroutine any more: take it off the list", path)
		}
	}
}

// startsGoroutine says whether a node is a go statement, a timer's or a WaitGroup's
// function, each without a guard at once inside.
func startsGoroutine(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		return !callsGuard(n.Call)
	case *ast.CallExpr:
		sel, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || len(n.Args) == 0 {
			return false
		}
		on := name(sel.X)
		switch sel.Sel.Name {
		case "AfterFunc":
			return !guardedFunc(n.Args[len(n.Args)-1])
		case "Go": // of a sync.WaitGroup; Host.Go is guarded
			return (on == "Work" || on == "readers" || on == "wg") && !guardedFunc(n.Args[0])
		}
	}
	return false
}

func name(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

// guardedFunc says whether a function does nothing but call a guard.
func guardedFunc(e ast.Expr) bool {
	f, ok := e.(*ast.FuncLit)
	if !ok || len(f.Body.List) != 1 {
		return false
	}
	s, ok := f.Body.List[0].(*ast.ExprStmt)
	if !ok {
		return false
	}
	call, ok := s.X.(*ast.CallExpr)
	return ok && callsGuard(call)
}

func callsGuard(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Guard"
}
