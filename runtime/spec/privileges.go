package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Capability is a capability of Linux without its prefix: NET_RAW.
type Capability string

// AllCapabilities in a list of those to drop means each of them.
const AllCapabilities Capability = "ALL"

// defaultCapabilities are what a site's root has. Of what container runtimes
// commonly give these are left out: NET_RAW (forged packets to neighbours),
// MKNOD (device nodes in volumes, for users of the machine), AUDIT_WRITE (the
// machine's audit log) and SETFCAP (files in volumes that give capabilities).
var defaultCapabilities = []Capability{
	"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// moreCapabilities may be added where the node allows it. All others reach
// beyond the container, or lie behind system calls that the seccomp filter
// refuses in any case.
var moreCapabilities = []Capability{"AUDIT_WRITE", "IPC_LOCK", "IPC_OWNER", "LEASE", "MKNOD", "NET_RAW", "SETFCAP"}

// knownCapabilities are those that a spec may name.
var knownCapabilities = append(slices.Clone(defaultCapabilities), moreCapabilities...)

// DecodeScalar implements strictyaml.ScalarDecoder. The prefix CAP_ may stand
// before the name.
func (c *Capability) DecodeScalar(s strictyaml.Scalar) error {
	text, err := s.String()
	*c = Capability(strings.TrimPrefix(text, "CAP_"))
	return err
}

// MayAdd says whether a spec may name a capability among those to add.
func MayAdd(c Capability) bool { return slices.Contains(knownCapabilities, c) }

// MayDrop says whether a spec may name a capability among those to drop.
func MayDrop(c Capability) bool { return c == AllCapabilities || MayAdd(c) }

// Capabilities are changes of the default set.
type Capabilities struct {
	// Add are capabilities that the site has besides the default ones, as far as privileges.capabilities of the node's configuration
	// allows.
	Add []Capability `json:"add,omitempty" also:"allow,cap_add"`
	// Drop are capabilities that the site does not have; ALL is each one that is not in add.
	Drop []Capability `json:"drop,omitempty" also:"deny,cap_drop,remove"`
}

// Beyond gives those that are added and neither default ones nor in allowed, by
// their places in Add.
func (c Capabilities) Beyond(allowed []Capability) []int {
	var beyond []int
	for i, a := range c.Add {
		if !slices.Contains(defaultCapabilities, a) && !slices.Contains(allowed, a) {
			beyond = append(beyond, i)
		}
	}
	return beyond
}

// Names gives the capabilities that a site has, sorted, as the kernel names them.
func (c Capabilities) Names() []string {
	var names []string
	for _, k := range knownCapabilities {
		added := slices.Contains(c.Add, k)
		dropped := slices.Contains(c.Drop, k) || slices.Contains(c.Drop, AllCapabilities)
		if added || slices.Contains(defaultCapabilities, k) && !dropped {
			names = append(names, "CAP_"+string(k))
		}
	}
	slices.Sort(names)
	return names
}

// NewPrivileges says whether programs of the site may have more rights than who
// executes them.
func (s *Site) NewPrivileges() bool { return s.NoNewPrivileges != nil && !*s.NoNewPrivileges }

// The user namespaces that a spec may name.
const (
	UsernsHost    = "host"
	UsernsPrivate = "private"
)

// OwnUserns says whether each replica has a user namespace of its own; where the
// spec does not say it the node does.
func (s *Site) OwnUserns(byDefault bool) bool {
	return s.Userns == UsernsPrivate || s.Userns == "" && byDefault
}

// userns checks the user namespace, and what means nothing in one.
func (c checker) userns(s *Site) {
	modes := []string{UsernsHost, UsernsPrivate}
	if s.Userns != "" && !slices.Contains(modes, s.Userns) {
		c.bad("userns", strings.Join(modes, ", "), "%q is not such a namespace", s.Userns)
	}
	if !s.OwnUserns(false) {
		return
	}
	for _, n := range s.NotWithUserns() {
		c.bad(n.Field, n.Allowed+", or userns: host", "%s with userns: private", n.What)
	}
}

// NoEffect is a field of a spec that means nothing, and what it may be.
type NoEffect struct{ Field, What, Allowed string }

// NotWithUserns finds what has no effect in a user namespace of the site's own.
func (s *Site) NotWithUserns() (found []NoEffect) {
	for i, name := range s.Capabilities.Add {
		if name == "NET_RAW" || name == "MKNOD" {
			found = append(found, NoEffect{fmt.Sprintf("capabilities.add[%d]", i), string(name) + " has no effect", "another capability"})
		}
	}
	for i, v := range s.Volumes {
		if v.Dev {
			found = append(found, NoEffect{fmt.Sprintf("volumes[%d].dev", i), "has no effect", "false"})
		}
	}
	return found
}

// capabilities checks the changes of the default set.
func (c checker) capabilities(caps Capabilities) {
	for _, list := range []struct {
		name    string
		of      []Capability
		allowed []Capability
	}{{"add", caps.Add, knownCapabilities}, {"drop", caps.Drop, append([]Capability{AllCapabilities}, knownCapabilities...)}} {
		for i, name := range list.of {
			at := fmt.Sprintf("capabilities.%s[%d]", list.name, i)
			if err := checkCapability(name, list.allowed); err != nil {
				c.report(at, err)
				continue
			}
			switch {
			case slices.Index(list.of, name) < i:
				c.bad(at, "", "%s stands in the list twice", name)
			case list.name == "drop" && slices.Contains(caps.Add, name):
				c.bad(at, "each capability in one of the lists", "%s is added, too", name)
			}
		}
	}
}

// CheckMore says what is wrong with a capability that specs are to be allowed to
// add.
func (c Capability) CheckMore() error { return checkCapability(c, moreCapabilities) }

func checkCapability(name Capability, allowed []Capability) error {
	if slices.Contains(allowed, name) {
		return nil
	}
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	hint := ""
	if guess := strictyaml.Suggest(strings.TrimPrefix(strings.ToUpper(string(name)), "CAP_"), words); guess != "" {
		hint = "; did you mean " + guess + "?"
	}
	return strictyaml.Bad(strings.Join(words, ", "), "%q is not a capability that a site can have%s", string(name), hint)
}

// The words that a spec may say for its AppArmor profile, besides a name.
const (
	AppArmorDefault    = "default"
	AppArmorUnconfined = "unconfined"
)

// profileName is how AppArmor profiles are called, as far as a spec may name
// them: as programs or by words, children of others too.
var profileName = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9_./+-]{0,199}$`)

// appArmor checks the profile's name. Whether there is such a one is seen on the
// node.
func (c checker) appArmor(profile string) {
	const allowed = AppArmorDefault + ", " + AppArmorUnconfined + ", or the name of a profile that is loaded on the node"
	switch {
	case profile == "":
	case strings.HasPrefix(profile, apparmor.Prefix):
		c.bad("apparmor", allowed, "%s is a version of fcnode's own profile: write %s", profile, AppArmorDefault)
	case !profileName.MatchString(profile):
		c.bad("apparmor", allowed, "%q is not the name of an AppArmor profile", profile)
	}
}
