package spec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// MaxFile is the size of the largest file that is read, in bytes.
const MaxFile = 64 << 20

// parsed is a site and the document it was read from.
type parsed struct {
	site *Site
	doc  *strictyaml.Document
}

// Parse reads the sites of a file, one in each YAML document, checks them and fills in the defaults. name is used in
// errors. Either every site is good and err is nil, or none is returned and err, of type Errors unless r failed, holds everything that is
// wrong. A file without content has no sites and no errors.
func Parse(name string, r io.Reader) ([]Site, error) {
	all, errs, err := parse(name, r)
	if err != nil {
		return nil, err
	}
	errs = append(errs, unique(all)...)
	if len(errs) > 0 {
		errs.Sort()
		return nil, errs
	}
	return sites(all), nil
}

// ParseFile reads the sites of a file; see Parse.
func ParseFile(path string) ([]Site, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the site specs: %w", err)
	}
	defer f.Close()
	return Parse(path, f)
}

// ParseDir reads the sites of every *.yaml and *.yml file of a folder (not of folders in it), in the order of the names of the
// files; names that start with a dot are left alone. No two sites may share a name, a domain or an address. A file that
// cannot be read and a site with an error do not hide the others: the good sites are returned together with the errors, and of two
// sites in conflict the first is good.
func ParseDir(dir string) ([]Site, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the folder of the site specs: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.IsDir() || !IsFile(e.Name())
	})
	type result struct {
		sites []parsed
		errs  Errors
		err   error
	}
	results := make([]result, len(entries))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, e := range entries {
		group.Go(func() error {
			r := &results[i]
			path := filepath.Join(dir, e.Name())
			f, err := os.Open(path)
			if err != nil {
				r.err = fmt.Errorf("read the site specs: %w", err)
				return nil
			}
			defer f.Close()
			r.sites, r.errs, r.err = parse(path, f)
			return nil
		})
	}
	_ = group.Wait() // each result has its own error
	var all []parsed
	var errs Errors
	var failed []error
	for _, r := range results {
		all = append(all, r.sites...)
		errs = append(errs, r.errs...)
		if r.err != nil {
			failed = append(failed, r.err)
		}
	}
	errs = append(errs, unique(all)...)
	errs.Sort()
	good := slices.DeleteFunc(all, func(p parsed) bool { return len(p.doc.Errs()) > 0 })
	return sites(good), errors.Join(append(failed, errs.Err())...)
}

// IsFile says whether a file of the folder of specs is read, by its name.
func IsFile(name string) bool {
	ext := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml")
}

// Names are those of the sites that a text describes, as far as it can be read; err says why not all of it could be. The specs themselves are not
// looked at.
func Names(src []byte) ([]string, error) {
	docs, errs := strictyaml.Parse("", src)
	var names []string
	for _, doc := range docs {
		var s Site
		doc.Decode(&s)
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	return names, errs.Err()
}

// parse reads and checks the documents of a file, each for itself. Sites with errors are among the result, so that conflicts with
// them are found.
func parse(name string, r io.Reader) ([]parsed, Errors, error) {
	src, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read the site specs of %s: %w", name, err)
	}
	if len(src) > MaxFile {
		return nil, Errors{{File: name, Msg: "is too large", Allowed: fmt.Sprintf("up to %s, in several files", Bytes(MaxFile))}}, nil
	}
	docs, errs := strictyaml.Parse(name, src)
	all := make([]parsed, 0, len(docs))
	for _, doc := range docs {
		site := defaults()
		doc.Decode(&site)
		rejectEmpty(doc, &site)
		site.complete()
		checker{report: doc.Reject}.site(&site)
		errs = append(errs, doc.Errs()...)
		all = append(all, parsed{site: &site, doc: doc})
	}
	return all, errs, nil
}

// rejectEmpty reports fields that are there without saying anything: their empty value is how a field that is left out is kept.
func rejectEmpty(doc *strictyaml.Document, s *Site) {
	type field struct {
		path  string
		empty bool
	}
	fields := []field{
		{"workdir", s.Workdir == ""},
		{"hostname", s.Hostname == ""},
		{"shmSize", s.ShmSize == 0},
		{"start.timeout", s.Start.Timeout == 0},
		{"stop.signal", s.Stop.Signal == ""},
		{"ignore.answer", s.Ignore.Answer == ""},
		{"ignore.status", s.Ignore.Status == 0},
		{"health.every", s.Health.Every == 0},
		{"health.failures", s.Health.Failures == 0},
		{"health.answer", s.Health.Answer == 0},
		{"keepConnections", s.KeepConnections == 0},
		{"busy.file", s.Busy.File == ""},
		{"objective.cold", s.Objective.Cold == 0},
		{"objective.wake", s.Objective.Wake == 0},
		{"lifetime.after", s.Lifetime.After == 0},
		{"lifetime.within", s.Lifetime.Within == 0},
		{"scale.target.conns", s.Scale.Target.Conns == 0},
		{"scale.target.latency", s.Scale.Target.Latency == 0},
		{"scale.spare.tier", s.Scale.Spare.Tier == ""},
		{"limits.cpu.step", s.Limits.CPU.Step == 0},
		{"limits.memory.step", s.Limits.Memory.Step == 0},
		{"limits.pids.step", s.Limits.Pids.Step == 0},
		{"limits.pids.min", s.Limits.Pids.Min == 0},
	}
	for _, p := range s.probes() {
		said := false
		for _, f := range p.fields() {
			fields = append(fields, field{p.name + "." + f.name, f.empty})
			said = said || doc.Has(p.name+"."+f.name)
		}
		fields = append(fields, field{p.name, !said && !doc.Has(p.name+".every") && !doc.Has(p.name+".failures") && !doc.Has(p.name+".answer")})
	}
	for i, t := range s.Schedule {
		fields = append(fields, field{fmt.Sprintf("schedule[%d].timeout", i), t.Timeout == 0})
	}
	for i, r := range s.Tiers.Rungs {
		fields = append(fields, field{fmt.Sprintf("tiers[%d].after", i), r.After == 0})
	}
	for i, l := range s.Limits.IO {
		at := fmt.Sprintf("limits.io[%d]", i)
		for _, r := range l.Rates() {
			if r.Max == 0 && r.Min == 0 && r.Step == 0 && doc.Has(at+"."+r.Name) {
				doc.Reject(at+"."+r.Name, strictyaml.Bad("a rate above 0", "lets nothing through"))
			}
			fields = append(fields, field{at + "." + r.Name + ".min", r.Min == 0}, field{at + "." + r.Name + ".step", r.Step == 0})
		}
	}
	for _, f := range fields {
		if f.empty && doc.Has(f.path) {
			doc.Reject(f.path, strictyaml.Bad("", "is empty or 0 (leave the field out for its default)"))
		}
	}
}

// unique reports, at their documents, the sites that share something with a site before them, and returns what it reported.
func unique(all []parsed) Errors {
	var errs Errors
	taken := newIndex()
	for _, p := range all {
		for _, c := range taken.conflicts(p.site) {
			err := invalid(c.field, c.err)
			at := p.doc.Position(c.field)
			err.File, err.Line, err.Column = p.doc.File, at.Line, at.Column
			p.doc.Reject(c.field, c.err)
			errs = append(errs, err)
		}
		taken.insert(p.site, func(field string) string {
			at := p.doc.Position(field)
			return (&Error{File: p.doc.File, Line: at.Line, Column: at.Column}).Where()
		})
	}
	return errs
}

func sites(all []parsed) []Site {
	var out []Site
	for _, p := range all {
		out = append(out, *p.site)
	}
	return out
}

// invalid makes an Error without a position.
func invalid(field string, err error) *Error {
	var bad *strictyaml.Invalid
	if errors.As(err, &bad) {
		return &Error{Field: field, Msg: bad.Msg, Allowed: bad.Allowed}
	}
	return &Error{Field: field, Msg: err.Error()}
}
