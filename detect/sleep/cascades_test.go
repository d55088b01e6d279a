package sleep

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// What a wake beside another saves, and what it costs if nobody comes, in most tests.
const (
	besideSaved    = 450.0
	besideNeedless = 4.0
)

// chain plays wakes and visits, and counts who is woken beside whom.
type chain struct {
	*Cascades
	at     time.Duration
	beside map[[2]uint32]int
}

func newChain() *chain {
	return &chain{Cascades: NewCascades(), at: 1000 * time.Hour, beside: map[[2]uint32]int{}}
}

func (c *chain) pass(d time.Duration) { c.at += d }

// wakes has somebody come to a site that sleeps.
func (c *chain) wakes(site uint32) (beside []uint32) {
	for _, b := range c.Woke(site, c.at) {
		if c.Try(site, b, c.at, besideSaved, besideNeedless) {
			c.beside[[2]uint32{site, b.Site}]++
			beside = append(beside, b.Site)
		}
	}
	return beside
}

// TestWhoFollowsIsWokenBeside after some times, though others come by chance between; and it is known how often, and how soon.
func TestWhoFollowsIsWokenBeside(t *testing.T) {
	c := newChain()
	rnd := rand.New(rand.NewPCG(1, 61))
	first := -1
	for n := range 40 {
		c.pass(time.Hour + time.Duration(rnd.ExpFloat64()*float64(time.Hour)))
		woken := len(c.wakes(1)) > 0
		if woken && first < 0 {
			first = n
		}
		c.pass(800 * time.Millisecond)
		if woken {
			c.Came(2, c.at.Truncate(time.Second)) // the meter tells it
		} else {
			c.wakes(2)
		}
		for range 3 {
			c.pass(time.Duration(rnd.ExpFloat64() * float64(10*time.Minute)))
			c.wakes(3 + rnd.Uint32N(20))
		}
	}
	if first < 3 || first > 8 {
		t.Errorf("it is woken from the wake %d on", first)
	}
	if n := c.beside[[2]uint32{1, 2}]; n < 30 || len(c.beside) != 1 {
		t.Errorf("woken beside each other: %v", c.beside)
	}
	pairs, wakes := c.Of(2)
	if b := pairs[1]; b.Came < 0.95*b.Wakes || b.Lag < 700*time.Millisecond || b.Lag > 900*time.Millisecond || !wakes[1] {
		t.Errorf("of the follower is known %+v, woken: %v", pairs, wakes)
	}
}

// TestWhoComesByChanceFollowsNobody: fifty sites at random, for weeks.
func TestWhoComesByChanceFollowsNobody(t *testing.T) {
	for seed := range uint64(2) {
		c := newChain()
		rnd := rand.New(rand.NewPCG(seed, 62))
		wakes := 0
		for end := c.at + 20*24*time.Hour; c.at < end; wakes++ {
			c.pass(time.Duration(rnd.ExpFloat64() * float64(time.Minute)))
			site := 1 + rnd.Uint32N(50)
			if rnd.IntN(3) == 0 { // some come far more often
				site = 1 + rnd.Uint32N(5)
			}
			c.wakes(site)
		}
		n := 0
		for _, times := range c.beside {
			n += times
		}
		if n > wakes/1000 {
			t.Errorf("seed %d: of %d wakes %d had others woken: %v", seed, wakes, n, c.beside)
		}
	}
}

// TestAScanTeachesNothing: somebody wakes all sites in their order each night, quickly or slowly; when people come to one of them,
// hardly another is woken for nothing, and after the scans are over none.
func TestAScanTeachesNothing(t *testing.T) {
	for _, gap := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, time.Second, 4 * time.Second} {
		c := newChain()
		rnd := rand.New(rand.NewPCG(7, 63))
		const sites, days = 300, 8
		people := 0
		visits := func() (beside int) {
			for range 1000 {
				c.pass(time.Duration(rnd.ExpFloat64() * float64(80*time.Second)))
				beside += len(c.wakes(1 + rnd.Uint32N(sites)))
				people++
			}
			return beside
		}
		visits()
		people = 0
		needless := 0
		for range days {
			for s := range uint32(sites) {
				c.pass(gap)
				c.wakes(1 + s)
			}
			c.pass(time.Hour)
			needless += visits()
		}
		if needless > people/50 {
			t.Errorf("a scan with %v between sites: %d of %d visits of people had others woken for nothing", gap, needless, people)
		}
		visits()
		if later := visits(); later > 20 {
			t.Errorf("a scan with %v between sites: when it is over still %d", gap, later)
		}
	}
}

// TestNeedlessWakesArePaid: whoever teaches the node that his site is followed cannot have another woken for nothing more often
// than eight times for each visit that did follow, whatever he does.
func TestNeedlessWakesArePaid(t *testing.T) {
	for seed := range uint64(6) {
		c := newChain()
		rnd := rand.New(rand.NewPCG(seed, 64))
		followed, needless := 0, 0
		for n := range 2000 {
			c.pass(time.Minute + time.Duration(rnd.ExpFloat64()*float64(10*time.Minute)))
			beside := len(c.wakes(1)) > 0
			c.pass(time.Second)
			// He has it followed for long, and then not; or whenever it is not woken; or now and then.
			follows := [...]bool{n%400 < 100, !beside, rnd.IntN(10) == 0}[seed%3]
			switch {
			case follows:
				followed++
				c.Came(2, c.at)
			case beside:
				needless++
			}
			if needless > cascadeBank*followed+cascadeBank {
				t.Fatalf("seed %d: %d visits followed, and it was woken %d times for nothing", seed, followed, needless)
			}
		}
		if seed%3 == 0 && needless > 5*3*cascadeBank {
			t.Errorf("seed %d: it does not follow any more, and was woken %d times", seed, needless)
		}
	}
}

// TestAFollowerFades that does not come any more.
func TestAFollowerFades(t *testing.T) {
	c := newChain()
	for range 100 {
		c.pass(time.Hour)
		c.wakes(1)
		c.pass(time.Second)
		c.wakes(2)
	}
	needless := 0
	for range 1000 {
		c.pass(time.Hour)
		needless += len(c.wakes(1))
	}
	if needless > 2*cascadeBank {
		t.Errorf("it was woken %d times for nothing", needless)
	}
	if pairs, _ := c.Of(2); len(pairs) > 0 {
		t.Errorf("after a thousand wakes that nobody followed: %v", pairs)
	}
}

// TestRareFollowersAreWorthTheirPrice: one wake in five is followed, which pays where a wait is dear, and not where it is cheap.
func TestRareFollowersAreWorthTheirPrice(t *testing.T) {
	for saved, want := range map[float64]bool{450: true, 8: false} {
		c := newChain()
		beside := 0
		for n := range 1000 {
			c.pass(time.Hour)
			for _, b := range c.Woke(1, c.at) {
				if c.Try(1, b, c.at, saved, besideNeedless) {
					beside++
				}
			}
			c.pass(time.Second)
			if n%5 == 0 {
				c.Came(2, c.at)
			}
		}
		if got := beside > 500; got != want {
			t.Errorf("with %v to save it was woken %d times", saved, beside)
		}
	}
}

// TestABusySiteFollowsNobody: who has visitors all the time has them after each wake.
func TestABusySiteFollowsNobody(t *testing.T) {
	c := newChain()
	rnd := rand.New(rand.NewPCG(2, 65))
	next := c.at
	for range 2000 {
		to := c.at + 10*time.Minute
		for next < to {
			c.Came(2, next)
			next += 10*time.Second + time.Duration(rnd.ExpFloat64()*float64(5*time.Second))
		}
		c.at = to
		if len(c.wakes(1)) > 0 {
			t.Fatal("it is woken beside a site that has nothing to do with it")
		}
	}
}

// TestManyLeadsHaveRoom: sites that are seen once push nobody out whose followers are known.
func TestManyLeadsHaveRoom(t *testing.T) {
	c := newChain()
	for n := range uint32(30_000) {
		c.pass(30 * time.Second)
		if n%1000 == 0 {
			c.wakes(1)
			c.pass(time.Second)
			c.Came(2, c.at)
			continue
		}
		c.wakes(1000 + n)
	}
	if n := c.beside[[2]uint32{1, 2}]; n < 20 {
		t.Errorf("woken beside each other: %v", c.beside)
	}
}

// TestCascadesAreKept over the daemon's end, as far as they are sure; what is damaged changes nothing.
func TestCascadesAreKept(t *testing.T) {
	c := newChain()
	for range 20 {
		c.pass(time.Hour)
		c.wakes(1)
		c.pass(time.Second)
		c.Came(2, c.at)
		c.pass(time.Hour)
		c.wakes(3)
	}
	b, err := json.Marshal(c.Cascades)
	if err != nil {
		t.Fatal(err)
	}
	next := &chain{Cascades: NewCascades(), at: c.at, beside: map[[2]uint32]int{}}
	if err := json.Unmarshal(b, next.Cascades); err != nil {
		t.Fatal(err)
	}
	next.pass(time.Hour)
	if len(next.wakes(1)) != 1 {
		t.Errorf("after %s nobody is woken", b)
	}
	for _, bad := range []string{
		`{}`, `[{"lead":1,"site":1}]`, `[{"lead":0,"site":1}]`, `[{"lead":1,"site":2,"wakes":-1}]`, `[{"lead":1,"site":2,"last":-1}]`, `[{"lead":1,"site":2,"came":1e39}]`, `"x"`,
	} {
		if err := json.Unmarshal([]byte(bad), next.Cascades); !errors.Is(err, ErrCascades) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if pairs, _ := next.Of(2); len(pairs) != 1 {
		t.Errorf("what was damaged has changed what is known: %v", pairs)
	}
}

// TestTheSketchIsBounded.
func TestTheSketchIsBounded(t *testing.T) {
	c := NewCascades()
	if size := unsafe.Sizeof(*c) + uintptr(len(c.leads))*unsafe.Sizeof(c.leads[0]) + mostTrials*unsafe.Sizeof(trial{}) + mostHeard*unsafe.Sizeof(heard{}); size > 250<<10 {
		t.Errorf("a sketch takes %d bytes", size)
	}
	rnd := rand.New(rand.NewPCG(3, 66))
	at := time.Hour
	for range 20_000 {
		at += time.Duration(rnd.ExpFloat64() * float64(3*time.Second))
		site := rnd.Uint32N(3000)
		for _, b := range c.Woke(site, at) {
			c.Try(site, b, at, besideSaved, besideNeedless)
		}
		c.Came(rnd.Uint32N(3000), at)
		if len(c.trials) > mostTrials || len(c.heard) > mostHeard {
			t.Fatalf("%d trials, %d heard", len(c.trials), len(c.heard))
		}
	}
}
