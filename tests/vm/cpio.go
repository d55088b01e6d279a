package main

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// archive is a cpio archive in the format "newc", which the kernel unpacks as its
// initramfs (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	buf   bytes.Buffer
	inode int
}

func (a *archive) dir(name string) { a.entry(name, unix.S_IFDIR|0o755, nil, 0, 0) }
func (a *archive) file(name string, data []byte) {
	a.entry(name, unix.S_IFREG|0o755, data, 0, 0)
}
func (a *archive) charDevice(name string, major, minor int) {
	a.entry(name, unix.S_IFCHR|0o600, nil, major, minor)
}

// bytes ends the archive and returns it.
func (a *archive) bytes() []byte {
	a.entry("TRAILER!!!", 0, nil, 0, 0)
	return a.buf.Bytes()
}

func (a *archive) entry(name string, mode int, data []byte, rdevMajor, rdevMinor int) {
	a.inode++
	// magic, then 13 fields of 8 hexadecimal digits: ino mode uid gid nlink mtime filesize
	// devmajor devminor rdevmajor rdevminor namesize check
	fmt.Fprintf(&a.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, rdevMajor, rdevMinor, len(name)+1, 0, name)
	a.pad()
	a.buf.Write(data)
	a.pad()
}

// pad fills up to a multiple of four bytes.
func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}
