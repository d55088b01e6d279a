package status

import (
	"os"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fcnode/fcnode/runtime/scale"
)

// TestMetricsAreDocumented: docs/metrics.md has each metric that there is, and no others.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	descs := make(chan *prometheus.Desc, 100)
	for _, c := range append(scale.NewMetrics().Collectors(), &collector{}) {
		c.Describe(descs)
	}
	close(descs)
	have := map[string]bool{}
	for d := range descs {
		have[regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]] = true
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(fcnode_[a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		if !have[row[1]] {
			t.Errorf("docs/metrics.md has %s, which there is not", row[1])
		}
		delete(have, row[1])
	}
	for name := range have {
		t.Errorf("docs/metrics.md does not have %s", name)
	}
}
