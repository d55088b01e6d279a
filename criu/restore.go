//go:build linux

package criu

import (
	"context"
	"fmt"
	"os"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
)

// NetKey names the network namespace in images: it is not part of them.
const NetKey = "extnet"

// Inherit hands a descriptor of CRIU's process to the restored tree.
type Inherit struct {
	Key string // "extnet", "pipe:[INODE]"
	FD  int    // in CRIU's process: FirstFileFD and following
}

// RestoreOptions say how to restore an image.
type RestoreOptions struct {
	Images   string // folder of the image files
	Work     string // folder for the log; it exists
	Root     string // where the root file system is mounted, in CRIU's mount namespace
	External []string
	Inherit  []Inherit
	Lazy     bool // pages come on demand, from a `criu lazy-pages` in Work
}

// Restore restores a tree. Its root becomes a child of the caller's process,
// and it runs. The result is the root's number as CRIU sees it.
func (s *Session) Restore(ctx context.Context, o RestoreOptions) (int, error) {
	images, err := os.Open(o.Images)
	if err != nil {
		return 0, fmt.Errorf("opening an image: %w", err)
	}
	defer images.Close() // a folder
	work, err := os.Open(o.Work)
	if err != nil {
		return 0, fmt.Errorf("opening the folder for CRIU's log: %w", err)
	}
	defer work.Close() // a folder
	opts := &rpc.CriuOpts{
		ImagesDirFd: ptr(int32(images.Fd())), WorkDirFd: ptr(int32(work.Fd())), LogLevel: ptr[int32](logLevel), LogFile: ptr(logFile),
		Root: ptr(o.Root), External: o.External, TcpClose: ptr(true), RstSibling: ptr(true),
		ManageCgroups: ptr(true), ManageCgroupsMode: rpc.CriuCgMode_IGNORE.Enum(),
		FileLocks: ptr(true), LinkRemap: ptr(true), LazyPages: ptr(o.Lazy), OrphanPtsMaster: ptr(true),
		NetworkLock: rpc.CriuNetworkLockMethod_SKIP.Enum(),
	}
	for _, i := range o.Inherit {
		opts.InheritFd = append(opts.InheritFd, &rpc.InheritFd{Key: ptr(i.Key), Fd: ptr(int32(i.FD))})
	}
	resp, err := s.request(ctx, rpc.CriuReqType_RESTORE, opts)
	if err := outcome("restore", ErrRestore, resp, err, o.Work); err != nil {
		return 0, err
	}
	return int(resp.GetRestore().GetPid()), nil
}
