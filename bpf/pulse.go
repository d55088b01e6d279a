package bpf

import (
	"fmt"
	"time"
)

// Beat tells the programs that the daemon is well, and for how long it may be silent
// from now on before new flows to sites that sleep are refused; 0: for ever.
func (d *Datapath) Beat(silence time.Duration) error {
	if err := d.objs.FcLastPulse.Put(uint32(0), dpFcPulse{Ns: Now(), Limit: uint64(silence)}); err != nil {
		return fmt.Errorf("tell the data path that the daemon is well: %w", err)
	}
	return nil
}
