package model

import (
	"testing"
	"time"
)

func TestComparedRules(t *testing.T) {
	k := KnativeRule{Target: 10, Max: 20}
	at, ready := time.Duration(0), 1
	feed := func(conns float64, length time.Duration) (changed time.Duration) {
		start, first := at, time.Duration(-1)
		for ; at < start+length; at += 100 * time.Millisecond {
			k.Observe(at, conns)
			if want := k.Decide(at, ready); want != ready {
				if ready = want; first < 0 {
					first = at - start
				}
			}
		}
		return first
	}
	if feed(8, 2*time.Minute); ready != 1 {
		t.Errorf("%d replicas for 8 connections", ready)
	}
	if took := feed(100, 20*time.Second); ready != 10 || took < time.Second || took > 5*time.Second {
		t.Errorf("%d replicas for 100 connections, begun after %v", ready, took)
	}
	if feed(100, 2*time.Minute); ready != 10 {
		t.Errorf("%d replicas for 100 connections after two minutes", ready)
	}
	if took := feed(8, 3*time.Minute); ready != 1 || took < 5*time.Second {
		t.Errorf("%d replicas when the crowd is gone, begun after %v", ready, took)
	}
	// It grows slowly below the panic threshold: the stable mean decides.
	feed(35, 3*time.Minute)
	if took := feed(45, 2*time.Minute); ready != 5 || took < 10*time.Second {
		t.Errorf("%d replicas for 45 connections, begun after %v", ready, took)
	}

	a := AverageRule{Target: 10, Max: 20}
	first := time.Duration(-1)
	for at := time.Duration(0); at < 10*time.Minute; at += time.Second {
		conns := 5.0
		if at >= 4*time.Minute {
			conns = 40
		}
		if n := a.Decide(at, conns, 1); n > 1 && first < 0 {
			first = at - 4*time.Minute
		}
	}
	if first < 15*time.Second || first > 90*time.Second {
		t.Errorf("averages of three minutes saw eight times the load after %v", first)
	}
}
