package spec

import (
	"fmt"
	"slices"
)

const maxNeeds = 16

// needs checks the sites that are woken beside this one.
func (c checker) needs(s *Site) {
	if len(s.Needs) > maxNeeds {
		c.bad("needs", fmt.Sprintf("up to %d sites", maxNeeds), "has %d entries", len(s.Needs))
	}
	for i, name := range s.Needs {
		at := fmt.Sprintf("needs[%d]", i)
		switch {
		case !labelForm.MatchString(name):
			c.bad(at, "the name of a site", "%q is not the name of a site", name)
		case name == s.Name:
			c.bad(at, "other sites", "%s is this site itself", name)
		case slices.Index(s.Needs, name) < i:
			c.bad(at, "", "%s stands in the list twice", name)
		}
	}
}
