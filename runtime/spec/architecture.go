package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Architecture is that of programs, by Go's name: amd64, 386.
type Architecture string

// architectures are those that a spec may name, each with the one whose processors
// run it; none: they run it anyway.
var architectures = []struct{ name, on Architecture }{{"amd64", ""}, {"386", "amd64"}, {"arm64", ""}, {"arm", "arm64"}}

// otherNames are those that others give them.
var otherNames = map[string]string{
	"x86_64": "amd64", "x86-64": "amd64", "x64": "amd64", "x86": "386", "i386": "386", "i686": "386", "ia32": "386",
	"aarch64": "arm64", "armv8": "arm64", "armhf": "arm", "armel": "arm", "armv7": "arm", "arm32": "arm",
}

// DecodeScalar implements strictyaml.ScalarDecoder: 386 is a number to YAML.
func (a *Architecture) DecodeScalar(s strictyaml.Scalar) error {
	if s.Kind == strictyaml.KindInt {
		*a = Architecture(s.Text)
		return nil
	}
	text, err := s.String()
	*a = Architecture(text)
	return err
}

func architectureNames() []string {
	var names []string
	for _, a := range architectures {
		names = append(names, string(a.name))
	}
	return names
}

// architectures checks which programs the site may run.
func (c checker) architectures(list []Architecture) {
	for i, a := range list {
		at := fmt.Sprintf("architectures[%d]", i)
		on, known := processorOf(a)
		switch {
		case !known:
			guess, ok := otherNames[strings.ToLower(string(a))]
			if !ok {
				guess = strictyaml.Suggest(string(a), architectureNames())
			}
			if guess != "" {
				guess = "; did you mean " + guess + "?"
			}
			c.bad(at, strings.Join(architectureNames(), ", "), "%q is not an architecture of programs%s", string(a), guess)
		case slices.Index(list, a) < i:
			c.bad(at, "", "%s stands in the list twice", a)
		case on != "" && !slices.Contains(list, on):
			c.bad(at, "it, and the one that it runs on", "%s needs %s in the list, too", a, on)
		}
	}
}

// processorOf is the architecture whose processors run another one's programs; none: they
// run it anyway.
func processorOf(of Architecture) (on Architecture, known bool) {
	for _, a := range architectures {
		if a.name == of {
			return a.on, true
		}
	}
	return "", false
}

// Foreign are the architectures of the list besides a node's own one; refused are the
// places of those that no program of it can be of.
func (s *Site) Foreign(native string) (foreign []string, refused []int) {
	for i, a := range s.Architectures {
		switch on, _ := processorOf(a); {
		case string(a) == native:
		case string(on) == native:
			foreign = append(foreign, string(a))
		default:
			refused = append(refused, i)
		}
	}
	return foreign, refused
}

// RunsOn are all that a node of an architecture can allow.
func RunsOn(native string) []string {
	all := []string{native}
	for _, a := range architectures {
		if string(a.on) == native {
			all = append(all, string(a.name))
		}
	}
	return all
}
