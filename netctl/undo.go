package netctl

import (
	"errors"
	"slices"
)

// undoList collects how to take back what was done, so that a call that fails
// half way leaves nothing behind.
type undoList []func() error

func (u *undoList) add(f func() error) { *u = append(*u, f) }

// run takes everything back, the last first, and joins what went wrong to err.
func (u *undoList) run(err error) error {
	for _, f := range slices.Backward(*u) {
		if undoErr := f(); undoErr != nil {
			err = errors.Join(err, undoErr)
		}
	}
	*u = nil
	return err
}
