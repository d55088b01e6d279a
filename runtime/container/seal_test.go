package container

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSealAwaitsItsPages: pages of the copy that somebody holds for a while do not keep it from being sealed.
func TestSealAwaitsItsPages(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	mem := os.NewFile(uintptr(fd), "test")
	defer mem.Close()
	page := make([]byte, os.Getpagesize())
	if _, err := mem.WriteAt(page, 0); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	hold(t, fd, w)
	if _, err := unix.FcntlInt(mem.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("sealing a file of which a pipe holds a page: %v", err)
	}
	sealed := make(chan error, 1)
	go func() { sealed <- seal(mem) }()
	if _, err := io.ReadFull(r, page); err != nil {
		t.Fatal(err)
	}
	if err := <-sealed; err != nil {
		t.Errorf("sealing: %v", err)
	}
	if _, err := mem.WriteAt(page, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing to a sealed file: %v", err)
	}
}

// hold has a pipe hold the first page of a file.
func hold(t *testing.T, fd int, pipe *os.File) {
	t.Helper()
	page, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	vec := unix.Iovec{Base: &page[0]}
	vec.SetLen(len(page))
	if _, err := unix.Vmsplice(int(pipe.Fd()), []unix.Iovec{vec}, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Munmap(page); err != nil {
		t.Fatal(err)
	}
}
