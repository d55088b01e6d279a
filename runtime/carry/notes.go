package carry

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/fcnode/fcnode/runtime/spec"
)

// Note says what became of a setting that a spec does not have as it is.
type Note struct {
	File string
	Line int // from 1; 0: not known
	// Service or container that it is of, and its setting: ports[0].
	Service, Setting string
	// Lost settings have no effect here; the others mean something else.
	Lost   bool
	Reason string
}

// String gives "compose.yaml:12: web: ports[0]: reason".
func (n Note) String() string {
	where := n.File
	if n.Line > 0 {
		where = fmt.Sprintf("%s:%d", n.File, n.Line)
	}
	out := where + ": " + n.Service
	if n.Setting != "" {
		out += ": " + n.Setting
	}
	if n.Lost {
		out += ": not carried over"
	}
	return out + ": " + n.Reason
}

// Result is what became of the services of a file.
type Result struct {
	Sites []spec.Site
	Notes []Note
}

func (r *Result) sort() {
	slices.SortStableFunc(r.Notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Service, b.Service))
	})
}

// carrying is one service or container on its way into a spec.
type carrying struct {
	site    spec.Site
	file    string
	service string
	lineOf  func(setting string) int
	notes   []Note
}

func (c *carrying) note(lost bool, setting, reason string, args ...any) {
	c.notes = append(c.notes, Note{File: c.file, Line: c.lineOf(setting), Service: c.service, Setting: setting, Lost: lost, Reason: fmt.Sprintf(reason, args...)})
}

// lost tells of a setting without effect.
func (c *carrying) lost(setting, reason string, args ...any) { c.note(true, setting, reason, args...) }

// becomes tells of one that is something else here.
func (c *carrying) becomes(setting, reason string, args ...any) {
	c.note(false, setting, reason, args...)
}

// into hands the site over, if it can be one.
func (c *carrying) into(r *Result) {
	err := c.site.Validate()
	if len(c.site.Ports) == 0 {
		c.lost("ports", "it has no port, and a site answers on one; say which with --port %s=PORT", c.service)
	} else if err != nil {
		c.lost("", "it cannot be a site as it is: %v", err)
	}
	r.Notes = append(r.Notes, c.notes...)
	if err == nil {
		r.Sites = append(r.Sites, c.site)
	}
}
