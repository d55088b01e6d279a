package container

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/fcnode/fcnode/runtime/container/entry"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/guard"
	"github.com/fcnode/fcnode/runtime/volume"
)

// Candidate is what might be started from an image. Of Spec count what is executed,
// and the targets of Mounts.
type Candidate struct {
	Spec    Spec
	Folders []string // targets at which folders are to be mounted
}

// Misfits says of each candidate what keeps all its starts from the image of these
// layers from coming to anything; none is no promise, as what lies in a volume is not
// seen. at is a folder that the image can be mounted over for this one look.
// err means that nobody could look; a panic is a guard.Fault.
func Misfits(lower []string, at string, list []Candidate) (misfits [][]error, err error) {
	misfits = make([][]error, len(list))
	err = volume.InImage(lower, at, func(root *os.File) error {
		fault := guard.Run(func() { // nobody else's goroutine, and what strangers wrote is read here
			for i, c := range list {
				found := append(c.Spec.program(), c.Spec.misfits(root, c.Folders)...)
				misfits[i] = slices.DeleteFunc(found, func(err error) bool { return err == nil })
			}
		})
		if fault != nil {
			return fault
		}
		return nil
	})
	return misfits, err
}

func (s *Spec) misfits(root *os.File, folders []string) (errs []error) {
	req := wire.StartRequest{ID: s.Site, Args: s.Args, Env: withPath(s.Env), Cwd: s.Cwd, Mounts: s.Mounts, Foreign: s.Architectures}
	if user, err := mounts.LookUser(root, s.User); err != nil {
		errs = append(errs, err)
	} else if s.Userns {
		errs = append(errs, user.Within())
	}
	errs = append(errs, entry.System(root))
	for _, target := range folders {
		others := slices.DeleteFunc(slices.Clone(s.Mounts), func(m Mount) bool { return m.Target == target })
		if err := entry.Folder(root, wire.StartRequest{Mounts: others}, target); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("a volume cannot be mounted at %s: %w; mount it elsewhere, or say imageVolumes: ignore if it is a VOLUME of the image", target, err))
		}
	}
	if len(s.Args) > 0 && s.Args[0] != "" {
		found, err := entry.Program(root, req)
		if err == nil && !found && len(s.Mounts) == 0 {
			err = fmt.Errorf("there is no executable file %s in the image", s.Args[0])
		}
		errs = append(errs, err)
	}
	return append(errs, entry.Cwd(root, req))
}
