package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fcnode/fcnode/runtime/image/build"
)

const siteSpec = `name: %s
domains: [hello.example.com]
image: oci:%s
ports: [80/tcp]
tiers: [{tier: frozen, after: 1s}, {tier: checkpointed, after: 3s}]
`

// writeSite makes the image and writes the spec.
func (d *demo) writeSite() error {
	program, err := FindSite(d.Program)
	if err != nil {
		return err
	}
	image := d.File("image")
	cfg := build.Config{}
	cfg.Entrypoint = []string{"/site"}
	if _, err := build.Layout(image, "", cfg, build.NewLayer(build.FileFrom("site", 0o755, program))); err != nil {
		return fmt.Errorf("make the image of the demo site: %w", err)
	}
	return os.WriteFile(d.spec(), fmt.Appendf(nil, siteSpec, siteName, image), 0o600)
}

// FindSite looks for the program of the demo site where the build and the
// packages put it; program is the path of fcnode.
func FindSite(program string) (string, error) {
	const name = "fcnode-demo-site"
	tried := []string{filepath.Join(filepath.Dir(program), name), "/usr/lib/fcnode/" + name, "/usr/local/lib/fcnode/" + name}
	for _, path := range tried {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program of the demo site is in none of %s: run make build, or reinstall fcnode", strings.Join(tried, ", "))
}
