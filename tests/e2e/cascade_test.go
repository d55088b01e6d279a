package e2e

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootCascade: a visit to a site wakes the one that it connects to, from each tier; with needs that one wakes beside it.
func TestRootCascade(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	for _, tier := range []string{"cold", "frozen", "checkpointed"} {
		t.Run(tier, func(t *testing.T) {
			if tier == "checkpointed" {
				needCRIU(t)
			}
			t.Parallel()
			n := newNode(t, options{})
			sleeps := []string{"idle: 1s", "tiers: [" + tier + "]", "checkpoint: {warm: 1}"}
			asleep := tier
			if tier == "cold" {
				asleep = "parked"
			}
			db := n.deploy("db", sleeps...)
			blog := n.deploy("blog", append(sleeps, `network: {allow: ["site:db:80/tcp"]}`)...)
			stranger := n.deploy("stranger")
			db.sleepOn(asleep)
			mark := n.mark()
			blog.reaches(db.addr4(80))
			if ev := db.await(mark, "waking"); strings.HasPrefix(ev.Reason, "needed") {
				t.Errorf("nothing needs it, and it wakes since %q", ev.Reason)
			}
			if got, _ := stranger.tries(db.addr4(80).String()); got {
				t.Error("a site without such a rule reaches it")
			}
			db.await(mark, asleep)

			n.deploy("blog", append(sleeps, `network: {allow: ["site:db:80/tcp"]}`, "needs: [db]")...)
			blog.sleepOn(asleep)
			db.sleepOn(asleep)
			mark = n.mark()
			n.outside.greet(blog.addr4(80)) // which talks to nobody
			if ev := db.await(mark, "waking"); ev.Reason != "needed by blog" {
				t.Errorf("it wakes since %q", ev.Reason)
			}
			db.await(mark, "running")
			blog.reaches(db.addr6(80))
		})
	}
}

// reaches expects that the site's connections to another come about. On a slow machine the site itself gives up before the other has
// started.
func (s *site) reaches(to netip.AddrPort) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "a connection of "+s.name, func() error {
		if got, said := s.tries(to.String()); !got {
			return errors.New(said)
		}
		return nil
	})
}
