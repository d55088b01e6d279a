package spec

import (
	"cmp"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Secret is a file of the node's that is root's alone, like a password or a key: a copy of it, in memory, is put into the site, or its content
// into the environment. A plain name is Name.
type Secret struct {
	// Name of the secret: up to 255 letters, digits, "_", "." and "-".
	Name string `json:"name" jsonschema:"required" also:"id,secret" alone:"true"`
	// Source is the absolute path on the node: of a file, or of a folder of files, below one of the secretRoots of the node's configuration,
	// without symbolic links, root's and readable for nobody else. It is read at each start of a replica. Default: the name, in the first of
	// secretRoots.
	Source string `json:"source,omitempty" also:"file,src,path,from"`
	// Target is the absolute path inside of the site. Default: the name, in /run/secrets.
	Target string `json:"target,omitempty" also:"dst,destination,mountpath,to"`
	// Env is the variable of the environment that has the content, without a newline at its end; there is no target then.
	Env string `json:"env,omitempty" also:"environment,variable,var"`
	// Owner is whose the copy is: name or number of a user in the image, with :group if wanted. Default: the user that the site runs as.
	Owner User `json:"owner,omitempty" also:"user,uid"`
	// Mode of the copy, or of each file of a folder, in octal. Nobody can write to it in any case. Default: 0400.
	Mode FileMode `json:"mode,omitzero" also:"permissions,perm"`
}

const (
	maxSecrets        = 64
	secretsDir        = "/run/secrets"
	secretNamePattern = `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$`
	secretNameAllowed = "up to 255 letters, digits, _, . and -, not starting with . or -"
	secretAllowed     = "NAME, NAME:TARGET or VARIABLE=NAME"
)

var secretNameForm = regexp.MustCompile(secretNamePattern)

// At is where the site has it as a file.
func (s Secret) At() string { return cmp.Or(s.Target, secretsDir+"/"+s.Name) }

// From is where it comes from, on a node with these secretRoots.
func (s Secret) From(roots []string) string {
	if s.Source != "" || len(roots) == 0 {
		return s.Source
	}
	return filepath.Join(roots[0], s.Name)
}

// ParseSecret reads a secret as it is named on a command line: NAME, NAME:TARGET or
// VARIABLE=NAME. Errors are of type *strictyaml.Invalid.
func ParseSecret(text string) (Secret, error) {
	if variable, name, ok := strings.Cut(text, "="); ok {
		if variable == "" || name == "" {
			return Secret{}, strictyaml.Bad(secretAllowed, "%q is no secret", text)
		}
		return Secret{Name: name, Env: variable}, nil
	}
	name, target, ok := strings.Cut(text, ":")
	if name == "" || ok && target == "" {
		return Secret{}, strictyaml.Bad(secretAllowed, "%q is no secret", text)
	}
	return Secret{Name: name, Target: target}, nil
}

// Place tells a secret from the others of its site: the variable or the target that it has.
func (s Secret) Place() string { return cmp.Or(s.Env, s.At()) }

// FileMode says who may read a file, as chmod(1) does: 0440. 0 is no wish.
type FileMode uint32

const (
	fileModeAllowed = "a mode of four octal digits like 0400 or 0440"
	fileModePattern = `^0[0-7]{3}$`
	defaultMode     = FileMode(0o400)
)

var fileModeForm = regexp.MustCompile(fileModePattern)

// Perm is the mode, or the default.
func (m FileMode) Perm() uint32 { return uint32(cmp.Or(m, defaultMode)) }

// MarshalText implements encoding.TextMarshaler.
func (m FileMode) MarshalText() ([]byte, error) {
	text := strconv.FormatUint(uint64(m), 8)
	return []byte(strings.Repeat("0", max(0, 4-len(text))) + text), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. 440 is refused, as it is another
// number for those who read it as a decimal one.
func (m *FileMode) UnmarshalText(text []byte) error {
	if !fileModeForm.Match(text) {
		return strictyaml.Bad(fileModeAllowed, "%q is not a mode", text)
	}
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err == nil && n == 0 { // which is how a mode that is left out is kept
		return strictyaml.Bad(fileModeAllowed, "with %s nobody could read it", text)
	}
	*m = FileMode(n)
	return err
}

// secrets checks them by themselves and against each other.
func (c checker) secrets(s *Site) {
	if len(s.Secrets) > maxSecrets {
		c.bad("secrets", "up to "+strconv.Itoa(maxSecrets)+" secrets", "has %d secrets", len(s.Secrets))
		return
	}
	for i, v := range s.Secrets {
		at := "secrets[" + strconv.Itoa(i) + "]"
		switch {
		case v.Name == "":
			c.bad(at+".name", secretNameAllowed, "is missing")
			continue
		case !secretNameForm.MatchString(v.Name):
			c.bad(at+".name", secretNameAllowed, "%q is not the name of a secret", v.Name)
			continue
		}
		if v.Source != "" {
			c.path(at+".source", v.Source)
		}
		if v.Owner != "" && !userForm.MatchString(string(v.Owner)) {
			c.bad(at+".owner", userAllowed, "%q is not a user", string(v.Owner))
		}
		if v.Mode > 0o777 {
			c.bad(at+".mode", fileModeAllowed, "%#o is not a mode", uint32(v.Mode))
		}
		if v.Env != "" {
			c.secretVariable(at, v, s, s.Secrets[:i])
		} else if v.Target == "" || c.path(at+".target", v.Target) {
			c.secretTarget(at+".target", v.At(), s, s.Secrets[:i])
		}
	}
}

func (c checker) secretVariable(at string, v Secret, s *Site, before []Secret) {
	_, taken := s.Env[v.Env]
	switch {
	case !envNameForm.MatchString(v.Env):
		c.bad(at+".env", envNameAllowed, "%q is not the name of a variable", v.Env)
	case v.Target != "" || v.Owner != "" || v.Mode != 0:
		c.bad(at+".env", "env, or a file with target, owner and mode", "a variable has none of them; for both list the secret twice")
	case taken:
		c.bad(at+".env", "each variable once", "%s is in env already", v.Env)
	}
	for j, b := range before {
		if b.Env == v.Env {
			c.bad(at+".env", "each variable once", "%s is the variable of secrets[%d] already", v.Env, j)
		}
	}
}

func (c checker) secretTarget(at, target string, s *Site, before []Secret) {
	if ofTheContainer(target) {
		c.bad(at, "a path outside of /proc, /sys and /dev", "%s belongs to the container", target)
	}
	inside := func(inner, outer string) bool { return inner == outer || strings.HasPrefix(inner, outer+"/") }
	for j, v := range s.Volumes {
		if inside(v.Target, target) {
			c.bad(at, "each target once", "%s would hide %s of volumes[%d]", target, v.Target, j)
		}
	}
	for j, t := range s.Tmpfs {
		if inside(t.Target, target) {
			c.bad(at, "each target once", "%s would hide %s of tmpfs[%d]", target, t.Target, j)
		}
	}
	for j, b := range before {
		if b.Env == "" && (inside(b.At(), target) || inside(target, b.At())) {
			c.bad(at, "targets apart from each other", "%s and %s of secrets[%d] are in each other's place", target, b.At(), j)
		}
	}
}
