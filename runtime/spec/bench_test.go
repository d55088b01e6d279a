package spec

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// typical is a site as most of them are written.
const typical = `name: site-%[1]d
domains: [site-%[1]d.example.com]
image: oci:/srv/images/wordpress:6-apache
ports: [80/tcp]
env: {WORDPRESS_DB_HOST: db.internal}
volumes: [{source: /srv/site-%[1]d, target: /var/www/html}]
limits: {cpu: {min: 0.25, max: 4}, memory: {min: 128MiB, max: 2GiB}, pids: 512}
`

// BenchmarkLoad100k is what a node does with its sites when it starts: 100,000 specs from their stored JSON.
func BenchmarkLoad100k(b *testing.B) {
	stored := make([][]byte, 100_000)
	size := 0
	for i := range stored {
		sites, err := Parse("x", strings.NewReader(fmt.Sprintf(typical, i)))
		if err != nil {
			b.Fatal(err)
		}
		if stored[i], err = json.Marshal(sites[0]); err != nil {
			b.Fatal(err)
		}
		size += len(stored[i])
	}
	b.ReportMetric(float64(size)/float64(len(stored)), "stored-B/site")
	b.ReportAllocs()
	for b.Loop() {
		for _, data := range stored {
			if _, err := FromJSON(data); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkParse is the reading of one file.
func BenchmarkParse(b *testing.B) {
	src := fmt.Sprintf(typical, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("x", strings.NewReader(src)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDigest is what tells whether a site changed.
func BenchmarkDigest(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		everythingSite.Digest()
	}
}
