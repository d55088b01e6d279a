package life

import (
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/spec"
)

// secretMounts are the secrets that a site has as files. What is in them is read by
// the process that mounts them, and by no daemon.
func secretMounts(roots []string, s *spec.Site) []container.Mount {
	var out []container.Mount
	for _, v := range s.Secrets {
		if v.Env == "" {
			out = append(out, container.Mount{
				Source: v.From(roots), Target: v.At(), Secret: &container.Secret{Owner: string(v.Owner), Mode: v.Mode.Perm()},
			})
		}
	}
	return out
}

// secretVariables are those that it has in its environment.
func secretVariables(roots []string, s *spec.Site) []container.SecretVariable {
	var out []container.SecretVariable
	for _, v := range s.Secrets {
		if v.Env != "" {
			out = append(out, container.SecretVariable{Name: v.Env, Source: v.From(roots)})
		}
	}
	return out
}
