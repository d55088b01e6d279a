package main

import (
	"fmt"
	"strings"
)

// customer has a site of the shared image, and of his own a volume, a
// database and a user of it.
type customer struct {
	name, domain, password string
}

// imageOf is the reference of a release.
func imageOf(release string) string { return registryHost + "/wordpress:" + release }

// sql makes his database.
func (c customer) sql() string {
	return fmt.Sprintf(`CREATE DATABASE %[1]s CHARACTER SET utf8mb4;
CREATE USER %[1]s IDENTIFIED BY '%[2]s';
GRANT ALL ON %[1]s.* TO %[1]s;
`, c.name, c.password)
}

// deploy are the arguments of the command that makes his site.
func (c customer) deploy(release string) []string {
	return []string{
		"deploy", c.name, "--image", imageOf(release), "--domain", c.domain, "--volume", "html:" + html,
		"--env", fmt.Sprintf("WORDPRESS_DB_HOST=%s:%d", dbAddr, dbPort), "--env", "WORDPRESS_DB_NAME=" + c.name,
		"--env", "WORDPRESS_DB_USER=" + c.name, "--env", "WORDPRESS_DB_PASSWORD=" + c.password,
	}
}

// further is what his spec says besides.
func (c customer) further() string {
	return fmt.Sprintf(`network: {allow: ["%[2]s:%[3]d/tcp"]}
extraHosts: {%[1]s: 127.0.0.1}
schedule:
  - {at: "*/15 * * * *", exec: [php, -r, "readfile('http://127.0.0.1/wp-cron.php');"]}
limits: {cpu: 2, memory: 512MiB, pids: 200}
circulate: {drain: 5m}
`, c.domain, dbAddr, dbPort)
}

// sleeping is a spec with one tier, in which the site sleeps after a second, once it
// has answered twice; and without a schedule, which could wake it just then.
func sleeping(spec, tier string) string {
	var b strings.Builder
	for line := range strings.Lines(spec) {
		if !strings.HasPrefix(line, "tiers:") && !strings.HasPrefix(line, "checkpoint:") && !strings.HasPrefix(line, "schedule:") && !strings.Contains(line, "{at:") {
			b.WriteString(line)
		}
	}
	fmt.Fprintf(&b, "tiers: [{tier: %s, after: 1s}]\ncheckpoint: {warm: 2}\n", tier)
	return b.String()
}
