package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

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

// giveLinkOrFIFO gives what cannot be opened its owner, mode and time. Its name may be
// something else's by now, to which nothing is given.
func (u *unpacker) giveLinkOrFIFO(dir int, name string, hdr *tar.Header) error {
	h, err := look(dir, name, ^uint64(0))
	if err != nil {
		return err
	}
	defer h.close()
	isFIFO := hdr.Typeflag == tar.TypeFifo
	if isFIFO && h.kind() != unix.S_IFIFO || !isFIFO && h.kind() != unix.S_IFLNK {
		return errors.New("it was exchanged meanwhile")
	}
	uid, gid, is, err := u.owner(hdr, nil)
	if err == nil && is {
		err = unix.Fchownat(h.fd, "", uid, gid, unix.AT_EMPTY_PATH)
	}
	if err == nil && isFIFO {
		err = unix.Chmod("/proc/self/fd/"+strconv.Itoa(h.fd), uint32(hdr.Mode)&0o777)
	}
	if err != nil {
		return err
	}
	return setTime(h.fd, hdr)
}

// setTime sets the time of what is open, as a path at least.
func setTime(fd int, hdr *tar.Header) error {
	when := unix.Timespec{Sec: hdr.ModTime.Unix(), Nsec: int64(hdr.ModTime.Nanosecond())}
	if err := unix.UtimesNanoAt(fd, "", []unix.Timespec{when, when}, unix.AT_EMPTY_PATH); err != nil {
		return os.NewSyscallError("utimensat", err)
	}
	return nil
}
