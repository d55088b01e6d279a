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

	// Created is told of the root as soon as it is there, in its namespaces and with nothing restored yet. CRIU waits for its
	// return.
	Created func(root int)
	// Approve is asked when all of the tree is there, and before any of it runs. If it has an error all of it
	// is killed, and Restore returns that.
	Approve func(root int) error
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
		NetworkLock: rpc.CriuNetworkLockMethod_SKIP.Enum(), NotifyScripts: ptr(true),
	}
	for _, i := range o.Inherit {
		opts.InheritFd = append(opts.InheritFd, &rpc.InheritFd{Key: ptr(i.Key), Fd: ptr(int32(i.FD))})
	}
	g := &restoreApproval{created: o.Created, ask: o.Approve}
	resp, err := s.call(ctx, &rpc.CriuReq{Type: rpc.CriuReqType_RESTORE.Enum(), Opts: opts}, g.notified)
	if g.err != nil {
		return 0, g.err // CRIU's own is its consequence
	}
	if err := outcome("restore", ErrRestore, resp, err, o.Work); err != nil {
		return 0, err
	}
	if !g.asked {
		return 0, fmt.Errorf("%w: CRIU did not ask before the processes ran", ErrRestore)
	}
	return int(resp.GetRestore().GetPid()), nil
}

// What CRIU tells and asks in the middle of a restore: "scripts" in its documents.
const (
	// created comes when the root has been born.
	created = "setup-namespaces"
	// restored comes when all processes have their memory, files and sockets and wait in CRIU's code
	// for the last step, in which they get their credentials and go on where they were. "No" has them killed. (The later
	// "pre-resume" must not be refused.)
	restored = "post-restore"
	// terminal brings the master of a terminal, which nobody here takes.
	terminal = "orphan-pts-master"
)

// restoreApproval answers CRIU.
type restoreApproval struct {
	created func(root int)
	ask     func(root int) error
	asked   bool
	err     error
}

func (g *restoreApproval) notified(n *rpc.CriuNotify) bool {
	switch n.GetScript() {
	case created:
		g.created(int(n.GetPid()))
	case restored:
		g.asked = true
		g.err = g.ask(int(n.GetPid()))
		return g.err == nil
	case terminal:
		return false
	}
	return true
}
