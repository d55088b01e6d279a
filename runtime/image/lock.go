package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Locking between processes (and between the goroutines of one) goes by open file
// description locks on byte ranges of <dir>/lock, so there is one lock file however
// many layers there are, and the kernel drops the locks of a killed process:
//
//	byte 0        shared: somebody unpacks
//	byte 1+hash   exclusive: somebody unpacks the layer with that chain id
//	all           exclusive: nobody unpacks; Prune, and Open's clearing of tmp/
//
// Layers are locked from the bottom up. Chains form a tree, so two unpackings share a
// prefix and never meet again above it: they cannot wait for each other in a circle.
//
// A fileLock is used by one goroutine.
type fileLock struct {
	file      *os.File
	waiting   sync.WaitGroup // calls of fcntl in goroutines of their own
	abandoned bool           // one of them outlived its context
}

func openLock(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the image store's lock: %w", classify(err))
	}
	return &fileLock{file: f}, nil
}

func (l *fileLock) fcntl(cmd int, kind int16, start, length int64) error {
	for {
		err := unix.FcntlFlock(l.file.Fd(), cmd, &unix.Flock_t{Type: kind, Start: start, Len: length})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// lock waits until it has the range (length 0: to the end) or ctx is done.
func (l *fileLock) lock(ctx context.Context, kind int16, start, length int64) error {
	if ok, err := l.tryLock(kind, start, length); ok || err != nil {
		return err
	}
	done := make(chan error, 1)
	l.waiting.Go(func() { done <- l.fcntl(unix.F_OFD_SETLKW, kind, start, length) })
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("lock the image store %s: %w", l.file.Name(), err)
		}
		return nil
	case <-ctx.Done():
		l.abandoned = true
		return fmt.Errorf("wait for another use of the image store: %w", context.Cause(ctx))
	}
}

func (l *fileLock) tryLock(kind int16, start, length int64) (bool, error) {
	err := l.fcntl(unix.F_OFD_SETLK, kind, start, length)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return false, nil
	}
	return false, fmt.Errorf("lock the image store %s: %w", l.file.Name(), err)
}

// release drops all ranges. A wait that was given up cannot be interrupted: it
// keeps the descriptor until it gets its range, and then drops it at once.
func (l *fileLock) release() {
	if !l.abandoned {
		_ = l.file.Close() // never written; closing drops the locks
		return
	}
	_ = l.fcntl(unix.F_OFD_SETLK, unix.F_UNLCK, 0, 0) // can only fail for bad arguments
	go func() {
		l.waiting.Wait()
		_ = l.file.Close()
	}()
}

func (l *fileLock) unpacking(ctx context.Context) error { return l.lock(ctx, unix.F_RDLCK, 0, 1) }
func (l *fileLock) everything(ctx context.Context) error {
	return l.lock(ctx, unix.F_WRLCK, 0, 0)
}
func (l *fileLock) tryEverything() (bool, error) { return l.tryLock(unix.F_WRLCK, 0, 0) }

// layer locks the one byte of a chain id. Two chain ids may share it: that only
// costs time.
func (l *fileLock) layer(ctx context.Context, chain v1.Hash) error {
	return l.lock(ctx, unix.F_WRLCK, chainOffset(chain), 1)
}

// chainOffset spreads chain ids over the bytes 1 to 2^62.
func chainOffset(chain v1.Hash) int64 {
	n, err := strconv.ParseUint(chain.Hex[:16], 16, 64)
	if err != nil {
		panic("image: a chain id that is not a sha256 digest: " + chain.String()) // made by chainIDs
	}
	return 1 + int64(n>>2)
}
