package front

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
)

// Caddy takes what `fcnode routes -o caddy` writes. The test is here because Caddy is.
func TestCaddyfileOfRoutes(t *testing.T) {
	for _, name := range []string{"caddy", "caddy-tls"} {
		text, err := os.ReadFile(filepath.Join("../../../fcnode/internal/frontend/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		asJSON, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": name})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, w := range warnings {
			if w.Message != "Caddyfile input is not formatted; run 'caddy fmt --overwrite' to fix inconsistencies" {
				t.Errorf("%s: %s", name, w)
			}
		}
		if name == "caddy-tls" { // whose files are not there
			continue
		}
		var cfg caddy.Config
		if err := json.Unmarshal(asJSON, &cfg); err != nil {
			t.Fatal(err)
		}
		cfg.Admin = &caddy.AdminConfig{Disabled: true}
		if err := caddy.Validate(&cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
