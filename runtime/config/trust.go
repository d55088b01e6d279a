package config

import (
	"fmt"
	"strings"
)

// Trust says who has to have signed images before sites may use them.
type Trust struct {
	// Images are names without tag and digest, or what they begin with and "*": registry.example/shop/*; "*" is all, those
	// that are in no registry (oci:, docker-archive:, dir:), too.
	Images []string `json:"images" also:"image,match,scope"`
	// Keys are files with public keys, PEM as `cosign generate-key-pair` writes cosign.pub. A signature by any of them will do.
	Keys []string `json:"keys" also:"key,publickeys"`
	// Unsigned takes these images without a signature.
	Unsigned bool `json:"unsigned" also:"accept,insecure"`
}

// trust checks the rules by which images are trusted. What is in the files of keys is seen when they are read.
func (c checker) trust(rules []Trust) {
	for i, r := range rules {
		at := fmt.Sprintf("trust[%d]", i)
		const allowed = `names without tag and digest, or what they begin with and "*"`
		if len(r.Images) == 0 {
			c.bad(at+".images", allowed, "is empty, so the rule is about nothing")
		}
		for j, image := range r.Images {
			name, _ := strings.CutSuffix(image, "*")
			_, last, _ := strings.Cut(name, "/")
			if image == "" || strings.ContainsAny(name, "*@ ") || !strings.HasSuffix(image, "*") && strings.Contains(last, ":") {
				c.bad(fmt.Sprintf("%s.images[%d]", at, j), allowed, "%q is none", image)
			}
		}
		switch {
		case r.Unsigned && len(r.Keys) > 0:
			c.bad(at+".unsigned", "keys, or unsigned: true", "there are keys, too")
		case !r.Unsigned && len(r.Keys) == 0:
			c.bad(at+".keys", "keys, or unsigned: true", "there are none")
		}
		for j, key := range r.Keys {
			c.path(fmt.Sprintf("%s.keys[%d]", at, j), key)
		}
	}
}
