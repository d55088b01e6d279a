package check

import (
	"strings"

	"github.com/fcnode/fcnode/runtime/resolv"
	"github.com/fcnode/fcnode/runtime/spec"
)

// names finds out whether sites can resolve names.
func (c *checker) names() {
	const name, why = "name servers", "sites resolve names by them"
	if missing := resolv.Missing(c.m.ReadFile, c.cfg.DNS, spec.DNS{}); missing != "" {
		c.add(name, Warn, missing, why, "give "+resolv.Remedy)
		return
	}
	servers, source := resolv.Servers(c.m.ReadFile, c.cfg.DNS, spec.DNS{})
	c.add(name, OK, strings.Join(servers, ", ")+" ("+source+")", why, "")
}
