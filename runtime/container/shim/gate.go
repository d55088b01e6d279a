package shim

import (
	"errors"
	"fmt"
	"os"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/apparmor"
)

// beside runs fn beside the caller. The result waits for what comes of it, each time that it is called.
func beside(fn func() error) (wait func() error) {
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = fn()
	}()
	return func() error {
		<-done
		return err
	}
}

// verify begins to compare the image's memory with its checksums. One processor does that while CRIU,
// on another, copies it.
func (r *restorer) verify() (verdict func() error) {
	files := make([]criu.File, len(r.req.Memory))
	for i, f := range r.req.Memory {
		files[i] = criu.File(f)
	}
	images, lazy := r.images(), r.req.Lazy
	return beside(func() error { return criu.VerifyMemory(images, files, lazy) })
}

// created begins to record the container for libcontainer, while CRIU fills it. That means nothing as long as init.json is missing.
func (r *restorer) created(root int) {
	r.recorded = beside(func() error { return r.recordLib(root) })
}

// gate is asked by CRIU when all processes are there and wait for the last step: they run only if their
// memory is what it was.
func (r *restorer) gate(int) error {
	err := r.verdict()
	if err == nil {
		r.step("verified")
	}
	return err
}

// confined finds out whether CRIU has given the processes their AppArmor profile:
// it does so where it has seen, at the dump and now, that the kernel has AppArmor,
// and as its last step, after the approval.
func (r *restorer) confined(root int) error {
	has, err := apparmor.Of(root)
	want := r.req.AppArmor
	if err == nil && want == "" {
		want, err = apparmor.Of(os.Getpid()) // where fcnode is confined itself
	}
	if err == nil && has != want {
		err = fmt.Errorf("%w: its processes have the AppArmor profile %q instead of %q", criu.ErrRestore, has, want)
	}
	return err
}

// orDamaged is the error of a restore that failed, when all that ran beside it is over: that the image is
// damaged explains whatever CRIU has met.
func (r *restorer) orDamaged(err error) error {
	if r.recorded != nil {
		_ = r.recorded() // it failed already
	}
	if damaged := r.verdict(); damaged != nil && !errors.Is(err, criu.ErrUnusable) {
		return errors.Join(damaged, err)
	}
	return err
}
