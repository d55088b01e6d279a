package policy

import (
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
)

// TestBeside: a site that follows another is woken beside it where a plan may wake it ahead of visits; why is known, also by the
// next daemon.
func TestBeside(t *testing.T) {
	dir := t.TempDir()
	follow := func(p *Plans, in Input) (woken int) {
		for range 20 {
			in.Now = in.Now.Add(3 * time.Hour)
			for _, b := range p.Woke(1, in.Now) {
				if b.Site == 2 && p.Beside(1, b, in, detect.TierCold, in.Now) {
					woken++
				}
			}
			p.Came(2, in.Now.Add(time.Second))
		}
		return woken
	}
	p := openPlans(t, dir, "")
	in := comes(t, p, "", 50, everyThreeHours)
	if n := follow(p, in); n < 10 {
		t.Errorf("it was woken %d times", n)
	}
	if f := p.Follows(2); len(f) != 1 || f[0].Site != 1 || !f[0].Woken || f[0].Came < 10 || f[0].Wakes < f[0].Came {
		t.Errorf("it follows %+v", f)
	}
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	next := openPlans(t, dir, "")
	if f := next.Follows(2); len(f) != 1 || !f[0].Woken {
		t.Errorf("the next daemon knows %+v", f)
	}
	if f := openPlans(t, dir, "wake: {ahead: 0}").Follows(2); len(f) != 1 || f[0].Woken {
		t.Errorf("a node that wakes nobody ahead knows %+v", f)
	}
	for _, yaml := range []string{"idle: never", "tiers: [{tier: frozen, after: 10s}, {tier: cold, after: 1h}]"} {
		p := openPlans(t, t.TempDir(), "")
		if n := follow(p, comes(t, p, yaml, 50, everyThreeHours)); n > 0 {
			t.Errorf("%s: it was woken %d times", yaml, n)
		}
	}
	p = openPlans(t, t.TempDir(), "wake: {ahead: 0}")
	if n := follow(p, comes(t, p, "", 50, everyThreeHours)); n > 0 {
		t.Errorf("wake.ahead is 0, and it was woken %d times", n)
	}
}
