package disk

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoQuotas means that the file system enforces no project quotas.
var ErrNoQuotas = errors.New("no project quotas")

// Of quotactl(2), for projects.
const (
	projectQuota = 2
	getQuota     = 0x800007<<8 | projectQuota
	setQuota     = 0x800008<<8 | projectQuota
	getState     = ('X'<<8+8)<<8 | projectQuota // Q_XGETQSTATV, which ext4 answers, too

	stateVersion = 1
	counted      = 1 << 4 // FS_QUOTA_PDQ_ACCT
	enforced     = 1 << 5 // FS_QUOTA_PDQ_ENFD

	limitBlock  = 1024 // bytes, in which limits are given
	validLimits = 1 | 4
)

// quota is if_dqblk of the kernel.
type quota struct {
	hardBlocks, softBlocks, bytes  uint64
	hardInodes, softInodes, inodes uint64
	timeForBytes, timeForInodes    uint64
	valid                          uint32
	_                              uint32
}

// state is the beginning of fs_quota_statv, and room for the rest.
type state struct {
	version uint8
	_       uint8
	flags   uint16
	_       [156]byte
}

// Quotas are the project quotas of a file system.
type Quotas struct{ fs *os.File }

// OpenQuotas finds those of the file system that a folder is on: ErrNoQuotas
// where it has none, or only counts.
func OpenQuotas(dir string) (*Quotas, error) {
	fs, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("look for project quotas: %w", err)
	}
	q := &Quotas{fs: fs}
	now := state{version: stateVersion}
	err = q.control(getState, 0, unsafe.Pointer(&now))
	switch {
	case err == nil && now.flags&enforced != 0:
		return q, nil
	case err == nil && now.flags&counted != 0:
		err = errors.New("they are counted and not enforced")
	case err == nil:
		err = errors.New("they are off")
	}
	return nil, errors.Join(fmt.Errorf("%s: %w: %w", dir, ErrNoQuotas, err), fs.Close())
}

// Close lets go of the file system.
func (q *Quotas) Close() error { return q.fs.Close() }

func (q *Quotas) control(cmd, id uint32, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, q.fs.Fd(), uintptr(cmd), uintptr(id), uintptr(arg), 0, 0)
	runtime.KeepAlive(q.fs)
	if errno != 0 {
		return errno
	}
	return nil
}

// Get gives what a project has in use, and its limit.
func (q *Quotas) Get(project uint32) (use, most Use, err error) {
	var got quota
	err = q.control(getQuota, project, unsafe.Pointer(&got))
	if errors.Is(err, unix.ENOENT) { // of xfs: nobody has ever used it
		return use, most, nil
	}
	if err != nil {
		return use, most, fmt.Errorf("read the quota of project %d: %w", project, err)
	}
	return Use{got.bytes, got.inodes}, Use{got.hardBlocks * limitBlock, got.hardInodes}, nil
}

// Limit sets what a project may have in use. Who reaches it gets EDQUOT, on xfs ENOSPC. The zero
// Use takes the limit away.
func (q *Quotas) Limit(project uint32, most Use) error {
	to := quota{hardBlocks: (most.Bytes + limitBlock - 1) / limitBlock, hardInodes: most.Inodes, valid: validLimits}
	if err := q.control(setQuota, project, unsafe.Pointer(&to)); err != nil {
		return fmt.Errorf("set the quota of project %d: %w", project, err)
	}
	return nil
}

// unused says whether nobody has files of a project, or a limit for it.
func (q *Quotas) unused(project uint32) (bool, error) {
	use, most, err := q.Get(project)
	return use == Use{} && most == Use{}, err
}
