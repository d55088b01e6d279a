package criu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
)

// logFile is the name of CRIU's log in its working folder.
const logFile = "criu.log"

// GhostLimit is how large a file may be that is deleted but still open, or a
// shared memory segment, to be put into an image.
const GhostLimit = 64 << 20

// logLevel makes CRIU say what failed and why, but not all that it does.
const logLevel = 2

// DumpOptions say what to dump.
type DumpOptions struct {
	Pid          int      // the tree's root
	Images       string   // folder for the image files; it exists
	FreezeCgroup string   // absolute path of the tree's cgroup, frozen or not
	External     []string // "net[INODE]:KEY", "mnt[/PATH]:KEY"

	// Patience is how long a dump that nobody wants any more may take to end; 0: HungAfter.
	Patience time.Duration
}

// Dump writes an image of a process tree and leaves the processes as they
// were: alive, and frozen if their cgroup was. Connections are put into the image as
// closed ones. The packets to the tree are the caller's to hold: nothing is
// locked. After the end of ctx it still waits for CRIU to finish, which must not
// be killed meanwhile; if that takes too long the error is ErrHung.
func (s *Session) Dump(ctx context.Context, o DumpOptions) error {
	dir, err := os.Open(o.Images)
	if err != nil {
		return fmt.Errorf("opening the folder for an image: %w", err)
	}
	defer dir.Close() // a folder
	opts := &rpc.CriuOpts{
		// CRIU opens folders by /proc/<its caller>/fd, and its caller is this process.
		ImagesDirFd: ptr(int32(dir.Fd())), LogLevel: ptr[int32](logLevel), LogFile: ptr(logFile), Pid: ptr(int32(o.Pid)),
		LeaveRunning: ptr(true), TcpClose: ptr(true), External: o.External, ExtUnixSk: ptr(false),
		ManageCgroups: ptr(true), ManageCgroupsMode: rpc.CriuCgMode_IGNORE.Enum(),
		NetworkLock: rpc.CriuNetworkLockMethod_SKIP.Enum(), FreezeCgroup: optional(o.FreezeCgroup),
		GhostLimit: ptr[uint32](GhostLimit), FileLocks: ptr(true), LinkRemap: ptr(true),
		OrphanPtsMaster: ptr(true),
	}
	patient, done := patience(ctx, cmp.Or(o.Patience, HungAfter))
	defer done()
	resp, err := s.request(patient, rpc.CriuReqType_DUMP, opts)
	if patient.Err() != nil {
		return fmt.Errorf("%w: %w", ErrHung, context.Cause(ctx))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrDump, context.Cause(ctx))
	}
	return outcome("dump", ErrDump, resp, err, o.Images)
}

// HungAfter is how long a dump that nobody wants any more usually may take to end.
const HungAfter = 30 * time.Second

// patience gives a context that ends some time after ctx has: CRIU runs code inside of the
// processes that it dumps, and killing it in the middle harms them.
func patience(ctx context.Context, hungAfter time.Duration) (context.Context, context.CancelFunc) {
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(hungAfter, cancel)
		context.AfterFunc(patient, func() { timer.Stop() })
	})
	return patient, func() {
		stop()
		cancel()
	}
}

// outcome turns an answer into an error, with what the log has to say.
func outcome(op string, kind error, resp *rpc.CriuResp, err error, logDir string) error {
	if err == nil && resp.GetSuccess() {
		return nil
	}
	f := &Failure{Op: op, Kind: kind, Errno: resp.GetCrErrno(), Log: logTail(logDir), Err: err}
	if msg := strings.TrimSpace(resp.GetCrErrmsg()); err == nil && len(f.Log) == 0 && msg != "" {
		f.Err = errors.New(msg) // the first error of the log
	}
	return f
}

func ptr[T any](v T) *T { return &v }

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
