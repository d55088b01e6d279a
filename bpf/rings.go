package bpf

import (
	"errors"
	"io"
)

// Rings are what the kernel tells the daemon by.
type Rings struct {
	Held     *HeldReader
	Events   *EventReader
	Triggers *TriggerReader
	Refusals *RefusalReader
	Limited  *LimitedReader
	opened   []io.Closer
}

// Rings opens all of them.
func (d *Datapath) Rings() (_ *Rings, err error) {
	r := &Rings{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.Held, err = opened(r, d.Held); err != nil {
		return nil, err
	}
	if r.Events, err = opened(r, d.Events); err != nil {
		return nil, err
	}
	if r.Triggers, err = opened(r, d.Triggers); err != nil {
		return nil, err
	}
	if r.Refusals, err = opened(r, d.Refusals); err != nil {
		return nil, err
	}
	r.Limited, err = opened(r, d.Limited)
	return r, err
}

func opened[R io.Closer](r *Rings, open func() (R, error)) (R, error) {
	ring, err := open()
	if err == nil {
		r.opened = append(r.opened, ring)
	}
	return ring, err
}

// Close ends whoever reads them.
func (r *Rings) Close() (err error) {
	for _, ring := range r.opened {
		err = errors.Join(err, ring.Close())
	}
	return err
}
