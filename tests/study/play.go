package main

import (
	"sync"

	"github.com/fcnode/fcnode/detect/model"
)

// player plays fleets side by side, so many at a time.
type player struct {
	free chan struct{}
	wg   sync.WaitGroup
}

func newPlayer(workers int) *player { return &player{free: make(chan struct{}, workers)} }

// nights plays a fleet by a rule, and hands over what came of it.
func (p *player) nights(f *model.Fleet, rule model.Sleeper, then func(*model.NightReport)) {
	p.wg.Go(func() {
		p.free <- struct{}{}
		defer func() { <-p.free }()
		then(model.PlayNights(config(f), f, rule))
	})
}

func (p *player) wait() { p.wg.Wait() }
