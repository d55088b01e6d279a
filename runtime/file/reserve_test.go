package file

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReserve(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	blocks := func() int64 {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if st.Size != 0 {
			t.Errorf("its size is %d", st.Size)
		}
		return st.Blocks * 512
	}
	if err := Reserve(f, 1<<50); err != nil || blocks() > 0 {
		t.Errorf("more than there is was reserved: %v", err)
	}
	if err := Reserve(f, 1<<20); err != nil || blocks() < 1<<20 {
		t.Errorf("%d bytes were reserved, %v", blocks(), err)
	}
}
