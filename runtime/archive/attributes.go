package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
)

// owner says whose an entry is to be, by the machine's numbers; false: whose it is.
// Who is not root cannot give files away.
func (u *unpacker) owner(hdr *tar.Header, old *unix.Stat_t) (uid, gid int, is bool, err error) {
	if os.Geteuid() != 0 {
		return 0, 0, false, nil
	}
	switch {
	case u.how.Chown:
		uid, gid = u.how.UID, u.how.GID
	case u.how.Keep:
		uid, gid = hdr.Uid, hdr.Gid
	case old != nil && old.Mode&unix.S_IFMT == unix.S_IFREG:
		return int(old.Uid), int(old.Gid), true, nil
	default:
		return 0, 0, false, nil // made by its root
	}
	if uid, err = u.how.Owners.outside(uid); err == nil {
		gid, err = u.how.Owners.outside(gid)
	}
	return uid, gid, true, err
}

// give gives an open file its owner and then its extended attributes, as a change of
// the owner takes capabilities away.
func (u *unpacker) give(f *os.File, hdr *tar.Header, old *unix.Stat_t) error {
	uid, gid, is, err := u.owner(hdr, old)
	if err == nil && is {
		err = f.Chown(uid, gid)
	}
	if err != nil || !u.how.Keep {
		return err
	}
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrKey)
		if !ok {
			continue
		}
		if !volume.KeptXattr(name) {
			u.result.skip(hdr.Name, "its attribute "+name+", which is not a file's own")
			continue
		}
		err := unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0)
		if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
			u.result.skip(hdr.Name, "its attribute "+name+": "+err.Error())
			continue
		}
		if err != nil {
			return fmt.Errorf("set its attribute %s: %w", name, err)
		}
	}
	return nil
}

// mode is set after the owner, whose change takes set-ID bits away. Only who keeps
// what the archive says keeps these.
func (u *unpacker) mode(f *os.File, hdr *tar.Header) error {
	bits := uint32(hdr.Mode) & 0o7777
	if !u.how.Keep {
		bits &= 0o777
	}
	if err := unix.Fchmod(int(f.Fd()), bits); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	return nil
}

// giveNamed gives what cannot be opened its owner, mode and time.
func (u *unpacker) giveNamed(dir int, name string, hdr *tar.Header) error {
	uid, gid, is, err := u.owner(hdr, nil)
	if err == nil && is {
		err = unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil && hdr.Typeflag == tar.TypeFifo {
		err = chmodNamed(dir, name, uint32(hdr.Mode)&0o777)
	}
	if err != nil {
		return err
	}
	when := timespec(hdr.ModTime)
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW)
}

// chmodNamed sets the mode of a FIFO, which is not opened.
func chmodNamed(dir int, name string, mode uint32) error {
	h, err := look(dir, name, ^uint64(0))
	if err != nil {
		return err
	}
	defer h.close()
	if h.kind() != unix.S_IFIFO {
		return errors.New("it was exchanged meanwhile")
	}
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(h.fd), mode)
}

func timespec(t time.Time) unix.Timespec {
	return unix.NsecToTimespec(t.UnixNano())
}

// setTime sets the time of an open file or folder.
func setTime(f *os.File, hdr *tar.Header) error {
	when := timespec(hdr.ModTime)
	if err := unix.UtimesNanoAt(int(f.Fd()), "", []unix.Timespec{when, when}, unix.AT_EMPTY_PATH); err != nil {
		return os.NewSyscallError("utimensat", err)
	}
	return nil
}
