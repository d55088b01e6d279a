package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// rich makes a folder with one of everything.
func rich(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	long := strings.Repeat("n", 200)
	must(t,
		os.MkdirAll(at("sub/"+long), 0o755), os.Mkdir(at("closed"), 0o500),
		os.WriteFile(at("plain"), []byte("plain"), 0o644), os.WriteFile(at("sub/"+long+"/deep"), []byte("deep"), 0o600),
		os.WriteFile(at("empty"), nil, 0o640), os.WriteFile(at("ümlaut\nline"), []byte("x"), 0o644), os.WriteFile(at("\xff\xfe"), []byte("y"), 0o644),
		os.Symlink("/etc/passwd", at("away")), os.Symlink("plain", at("link")), os.Link(at("plain"), at("sub/second")),
		unix.Mkfifo(at("fifo"), 0o620), os.WriteFile(at("setuid"), []byte("s"), 0o755), os.Chmod(at("setuid"), 0o755|fs.ModeSetuid|fs.ModeSetgid),
		os.Mkdir(at("sticky"), 0o755), os.Chmod(at("sticky"), 0o777|fs.ModeSticky),
	)
	sparse, err := os.Create(at("sparse"))
	must(t, err)
	for _, off := range []int64{0, 1 << 20, 40 << 20} {
		_, err := sparse.WriteAt([]byte("data"), off)
		must(t, err)
	}
	must(t, sparse.Truncate(50<<20), sparse.Close())
	must(t, os.WriteFile(at("hole"), nil, 0o600), os.Truncate(at("hole"), 64<<20))
	if err := unix.Setxattr(at("plain"), "user.note", []byte("a\x00b"), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // others cannot give files away
		for i, name := range []string{"setuid", "away", "fifo", "sub", "sparse", "empty"} {
			must(t, os.Lchown(at(name), 33+i, 70_000+i))
		}
		capability := make([]byte, 20) // VFS_CAP_REVISION_2: CAP_NET_BIND_SERVICE
		capability[3], capability[5] = 2, 1<<2
		must(t, os.Chmod(at("setuid"), 0o755|fs.ModeSetuid|fs.ModeSetgid), unix.Setxattr(at("empty"), "security.capability", capability, 0))
	}
	when := time.Unix(1_700_000_000, 123_456_789)
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		ts := unix.NsecToTimespec(when.UnixNano())
		return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}))
	return dir
}

// describe gives what can be seen of a folder, a line for each name.
func describe(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	first := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		line := fmt.Sprintf("%q %o %d:%d %d.%d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if len(b) > 1<<20 {
				b = bytes.Trim(b, "\x00")
			}
			note, capability := make([]byte, 100), make([]byte, 100)
			n, _ := unix.Lgetxattr(path, "user.note", note)
			c, _ := unix.Lgetxattr(path, "security.capability", capability)
			line += fmt.Sprintf(" %d %d bytes %q %q of %q", st.Size, len(b), note[:max(n, 0)], capability[:max(c, 0)], cmpOr(first[st.Ino], rel))
			first[st.Ino] = cmpOr(first[st.Ino], rel)
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + to
		}
		out = append(out, line)
		return nil
	}))
	return out
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func tree(t *testing.T, dir string) Tree {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return In(f)
}

func pack(t *testing.T, dir, at, name string) ([]byte, Result) {
	t.Helper()
	var out bytes.Buffer
	result, err := Pack(t.Context(), &out, tree(t, dir), at, Owners{}, name)
	must(t, err)
	return out.Bytes(), result
}

func differ(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s: has   %s", what, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s: lacks %s", what, line)
		}
	}
}

// blocks is the disk that a file takes, in bytes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

// TestRoundTrip: what is unpacked is what was packed, holes as holes, also by way of
// GNU tar at either end.
func TestRoundTrip(t *testing.T) {
	dir := rich(t)
	want := describe(t, dir)
	packed, result := pack(t, dir, "/", ".")
	if result.Left != 0 || len(packed) > 4<<20 {
		t.Errorf("%d bytes, left out: %q", len(packed), result.Skipped)
	}
	own := t.TempDir()
	_, err := Unpack(t.Context(), bytes.NewReader(packed), tree(t, own), "/", Unpacking{Keep: true, Fresh: true})
	must(t, err)
	differ(t, "unpacked", describe(t, own), want)
	for _, name := range []string{"sparse", "hole"} {
		if n := blocks(t, filepath.Join(own, name)); n > 1<<20 {
			t.Errorf("%s takes %d bytes of disk", name, n)
		}
	}
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("there is no tar: ", err)
	}
	flags := []string{"--xattrs", "--xattrs-include=*", "--same-owner", "-p"}
	gnu := t.TempDir()
	cmd := exec.Command("tar", append(flags, "-xf", "-", "-C", gnu)...)
	cmd.Stdin = bytes.NewReader(packed)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	differ(t, "GNU tar reads", describe(t, gnu), want)
	if n := blocks(t, gnu+"/sparse"); n > 1<<20 {
		t.Errorf("GNU tar's sparse file takes %d bytes of disk", n)
	}
	for _, format := range []string{"pax", "gnu"} {
		args := []string{"-S", "--format=" + format, "-cf", "-", "-C", dir, "."}
		if format == "pax" {
			args = append(flags, args...)
		}
		out, err := exec.Command("tar", args...).Output()
		must(t, err)
		from := t.TempDir()
		_, err = Unpack(t.Context(), bytes.NewReader(out), tree(t, from), "/", Unpacking{Keep: true, Fresh: true})
		must(t, err)
		got := describe(t, from)
		if format == "gnu" { // it has neither parts of seconds nor extended attributes
			if len(got) != len(want) {
				t.Errorf("of GNU tar's archive: %d names, want %d", len(got), len(want))
			}
			continue
		}
		differ(t, "of GNU tar", got, want)
	}
}

// TestTimes: times are what they were in any year, also those of files with holes.
func TestTimes(t *testing.T) {
	dir := t.TempDir()
	for name, at := range map[string]unix.Timespec{"before 1970": {Sec: -2, Nsec: 500_000_000}, "after 2262": {Sec: 9_800_000_000, Nsec: 1}, "1970": {Nsec: 1_000}} {
		for _, size := range []int64{0, 1 << 20} {
			path := fmt.Sprintf("%s/%s, %d", dir, name, size)
			must(t, os.WriteFile(path, nil, 0o600), os.Truncate(path, size), unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, 0))
		}
	}
	want := describe(t, dir)
	packed, _ := pack(t, dir, "/", ".")
	into := t.TempDir()
	_, err := Unpack(t.Context(), bytes.NewReader(packed), tree(t, into), "/", Unpacking{Keep: true, Fresh: true})
	must(t, err)
	differ(t, "unpacked", describe(t, into), want)
}

// TestManyXattrs: a file with more attributes than fit, as xfs can keep, makes no archive that cannot be read.
func TestManyXattrs(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/hole", nil, 0o600), os.Truncate(dir+"/hole", 1<<20))
	for _, sparse := range []bool{false, true} {
		var out bytes.Buffer
		p := packer{ctx: t.Context(), out: &out, tar: tar.NewWriter(&out), room: maxXattrs}
		hdr := &tar.Header{Name: "hole", Typeflag: tar.TypeReg, Format: tar.FormatPAX, Mode: 0o600}
		for i := range 20 {
			p.xattr(hdr, fmt.Sprint("user.", i), strings.Repeat("x", volume.MaxXattr))
		}
		if sparse {
			f, err := os.Open(dir + "/hole")
			must(t, err)
			defer f.Close()
			hdr.Size = 1 << 20
			must(t, p.sparse(f, hdr, []extent{}))
		} else {
			must(t, p.header(hdr))
		}
		must(t, p.tar.Close())
		got, err := tar.NewReader(&out).Next()
		if err != nil || got.Name != "hole" || p.result.Left == 0 || p.result.Left == 20 {
			t.Errorf("sparse %v: %+v, %v; left out %d", sparse, got, err, p.result.Left)
		}
	}
}

// TestCut: an archive that is cut off anywhere is none.
func TestCut(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/a", make([]byte, 3000), 0o600), os.WriteFile(dir+"/b", []byte("b"), 0o600), os.Mkdir(dir+"/c", 0o700))
	packed, _ := pack(t, dir, "/", ".")
	for n := 0; n < len(packed); n += 256 {
		into := t.TempDir()
		_, err := Unpack(t.Context(), bytes.NewReader(packed[:n]), tree(t, into), "/", Unpacking{Fresh: true})
		if !errors.Is(err, ErrNoArchive) {
			t.Errorf("%d of %d bytes: %v", n, len(packed), err)
		}
	}
	for name, b := range map[string][]byte{"text": []byte(strings.Repeat("no archive\n", 1000)), "zeros then more": append(bytes.Clone(packed), bytes.Repeat([]byte("x"), 2<<20)...)} {
		if _, err := Unpack(t.Context(), bytes.NewReader(b), tree(t, t.TempDir()), "/", Unpacking{}); !errors.Is(err, ErrNoArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// made is an archive of these entries.
func made(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := range entries {
		h := entries[i]
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		data := []byte(nil)
		if h.Typeflag == tar.TypeReg {
			data = []byte("evil")
		}
		h.Size = int64(len(data))
		must(t, w.WriteHeader(&h))
		_, err := w.Write(data)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

// TestHostile: no entry reaches what is not below the folder.
func TestHostile(t *testing.T) {
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	hard := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}
	}
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
	for name, tt := range map[string]struct {
		entries []tar.Header
		fails   bool
	}{
		"dots":                {[]tar.Header{reg("../secret")}, true},
		"dots inside":         {[]tar.Header{reg("a/../../secret")}, true},
		"absolute":            {[]tar.Header{reg("OUTSIDE/secret")}, false}, // below the folder
		"over a link":         {[]tar.Header{link("a", "OUTSIDE"), reg("a/secret")}, true},
		"over a link twice":   {[]tar.Header{link("a", "b"), link("b", "OUTSIDE"), reg("a/secret")}, true},
		"a file at a link":    {[]tar.Header{link("a", "OUTSIDE/secret"), reg("a")}, false}, // in its place
		"a folder at a link":  {[]tar.Header{link("a", "OUTSIDE"), dir("a"), reg("a/secret")}, true},
		"a link at a folder":  {[]tar.Header{dir("a"), link("a", "OUTSIDE"), reg("a/secret")}, true},
		"hard link out":       {[]tar.Header{hard("a", "../secret"), reg("a")}, true},
		"hard link absolute":  {[]tar.Header{hard("a", "OUTSIDE/secret"), reg("a")}, true}, // there is none below
		"hard link by a link": {[]tar.Header{link("l", "OUTSIDE"), hard("a", "l/secret"), reg("a")}, true},
		"hard link to a link": {[]tar.Header{link("l", "OUTSIDE/secret"), hard("a", "l"), reg("a")}, true},
		"hard link to itself": {[]tar.Header{reg("a"), hard("a", "a")}, false},
		"a device":            {[]tar.Header{{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8}, {Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, false},
		"a file as a folder":  {[]tar.Header{reg("a"), reg("a/b")}, true},
		"owner -1":            {[]tar.Header{{Name: "a", Typeflag: tar.TypeDir, Uid: 1<<32 - 1, Mode: 0o755}}, os.Geteuid() == 0},
		"deep":                {[]tar.Header{reg(strings.Repeat("d/", 1000) + "f")}, true},
	} {
		for _, fresh := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, fresh %v", name, fresh), func(t *testing.T) {
				top := t.TempDir()
				outside, into := top+"/outside", top+"/outside/into"
				must(t, os.MkdirAll(into, 0o755), os.WriteFile(outside+"/secret", []byte("own"), 0o600))
				entries := slices.Clone(tt.entries)
				for i := range entries {
					entries[i].Name = strings.ReplaceAll(entries[i].Name, "OUTSIDE", outside)
					entries[i].Linkname = strings.ReplaceAll(entries[i].Linkname, "OUTSIDE", outside)
				}
				_, err := Unpack(t.Context(), bytes.NewReader(made(t, entries...)), tree(t, into), "/", Unpacking{Keep: true, Fresh: fresh})
				if (err != nil) != tt.fails {
					t.Errorf("error %v, want one: %v", err, tt.fails)
				}
				if b, err := os.ReadFile(outside + "/secret"); err != nil || string(b) != "own" {
					t.Errorf("what lies outside is %q now (%v)", b, err)
				}
				must(t, filepath.WalkDir(into, func(path string, d fs.DirEntry, err error) error {
					if err == nil && d.Type()&(fs.ModeDevice|fs.ModeCharDevice) != 0 {
						t.Errorf("%s is a device", path)
					}
					if strings.Contains(path, ".fcnode-") {
						t.Errorf("%s is left", path)
					}
					return err
				}))
			})
		}
	}
}

// TestDestination: paths mean what they mean to cp -r.
func TestDestination(t *testing.T) {
	from := t.TempDir()
	must(t, os.MkdirAll(from+"/app/lib", 0o755), os.WriteFile(from+"/app/lib/x", []byte("new"), 0o644), os.WriteFile(from+"/conf", []byte("new"), 0o644),
		os.Symlink("app", from+"/current"))
	for _, tt := range []struct{ from, to, want string }{
		{"/conf", "/there", "there/conf"},
		{"/conf", "/there/", "there/conf"},
		{"/conf", "/fresh", "fresh"},
		{"/conf", "/old", "old"},
		{"/conf", "/gone/fresh", ""},
		{"/conf", "/gone/", ""},
		{"/conf", "/old/", ""},
		{"/app", "/there", "there/app/lib/x"},
		{"/app/.", "/there", "there/lib/x"},
		{"/app", "/fresh", "fresh/lib/x"},
		{"/app/.", "/fresh", "fresh/lib/x"},
		{"/app", "/old", ""},
		{"/current", "/fresh", "fresh/lib/x"},
		{"/", "/there", "there/conf"},
		{"/conf", "/by-link", "there/conf"},
		{"/conf", "/../../fresh", "fresh"},
	} {
		into := t.TempDir()
		must(t, os.Mkdir(into+"/there", 0o755), os.WriteFile(into+"/old", []byte("old"), 0o600), os.Symlink("/there", into+"/by-link"))
		packed, _ := pack(t, from, tt.from, "")
		_, err := Unpack(t.Context(), bytes.NewReader(packed), tree(t, into), tt.to, Unpacking{})
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s to %s is no error", tt.from, tt.to)
			}
			if b, _ := os.ReadFile(into + "/old"); string(b) != "old" {
				t.Errorf("%s to %s: the old file is %q", tt.from, tt.to, b)
			}
			continue
		}
		if b, readErr := os.ReadFile(filepath.Join(into, tt.want)); err != nil || string(b) != "new" {
			t.Errorf("%s to %s: %q, %v, %v", tt.from, tt.to, b, err, readErr)
		}
	}
}

// TestGlobalHeader: what git archive begins with is no file, and not the one at the top.
func TestGlobalHeader(t *testing.T) {
	into := t.TempDir()
	packed := made(t, tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "c0ffee"}},
		tar.Header{Name: "top/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "top/file", Typeflag: tar.TypeReg})
	r, err := Unpack(t.Context(), bytes.NewReader(packed), tree(t, into), "/fresh", Unpacking{})
	must(t, err)
	if b, err := os.ReadFile(into + "/fresh/file"); err != nil || string(b) != "evil" || r.Files != 2 {
		t.Errorf("%q, %v, %+v", b, err, r)
	}
}

// TestKeepsLittle: without being told so nothing has more rights than it needs.
func TestKeepsLittle(t *testing.T) {
	packed, _ := pack(t, rich(t), "/", ".")
	into := t.TempDir()
	must(t, os.WriteFile(into+"/plain", []byte("old"), 0o600))
	_, err := Unpack(t.Context(), bytes.NewReader(packed), tree(t, into), "/", Unpacking{})
	must(t, err)
	fi, err := os.Stat(into + "/setuid")
	must(t, err)
	if fi.Mode() != 0o755 {
		t.Errorf("the set-user-ID file is %s", fi.Mode())
	}
	if b, err := os.ReadFile(into + "/plain"); err != nil || string(b) != "plain" {
		t.Errorf("the old file is %q, %v", b, err)
	}
}

// TestRace: folders of a tree that are exchanged for links meanwhile lead nowhere.
func TestRace(t *testing.T) {
	top := t.TempDir()
	own, outside := top+"/own", top+"/outside"
	must(t, os.MkdirAll(own+"/a", 0o755), os.MkdirAll(outside, 0o755), os.WriteFile(outside+"/secret", []byte("secret"), 0o600),
		os.WriteFile(own+"/a/secret", []byte("own"), 0o600), os.Symlink(outside, own+"/b"))
	var wg sync.WaitGroup
	over := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, own+"/a", unix.AT_FDCWD, own+"/b", unix.RENAME_EXCHANGE)
			}
		}
	})
	in := tree(t, own)
	evil := made(t, tar.Header{Name: "a/evil", Typeflag: tar.TypeReg})
	read, written := 0, 0
	for range 300 {
		var out bytes.Buffer
		if _, err := Pack(t.Context(), &out, in, "/a", Owners{}, ""); err == nil {
			read++
		}
		if bytes.Contains(out.Bytes(), []byte("secret\x00\x00\x00")) && !bytes.Contains(out.Bytes(), []byte("own\x00")) {
			t.Fatal("what lies outside was packed")
		}
		if _, err := Unpack(t.Context(), bytes.NewReader(evil), in, "/", Unpacking{}); err == nil {
			written++
		}
	}
	close(over)
	wg.Wait()
	left, err := os.ReadDir(outside)
	must(t, err)
	if len(left) != 1 {
		t.Errorf("outside there is %v now", left)
	}
	if read == 0 || written == 0 {
		t.Errorf("packed %d times, unpacked %d times: nothing was raced with", read, written)
	}
}

// TestExchanged: what has got the name of a link or of a FIFO meanwhile gets neither its owner nor its mode or time.
func TestExchanged(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/secret", nil, 0o600), os.Symlink("secret", dir+"/link"))
	before := describe(t, dir)
	d, err := os.Open(dir)
	must(t, err)
	defer d.Close()
	u := unpacker{how: Unpacking{Chown: true, UID: 33, GID: 33}}
	for name, kind := range map[string]byte{"secret": tar.TypeSymlink, "link": tar.TypeFifo} {
		if err := u.giveLinkOrFIFO(int(d.Fd()), name, &tar.Header{Typeflag: kind, Mode: 0o777}); err == nil {
			t.Errorf("%s is taken for an entry of type %q", name, kind)
		}
	}
	differ(t, "exchanged", describe(t, dir), before)
}

// TestKernels: what is the kernel's is neither read nor written, whatever leads there.
func TestKernels(t *testing.T) {
	in := tree(t, "/")
	if _, err := Pack(t.Context(), io.Discard, in, "/proc/version", Owners{}, ""); !errors.Is(err, ErrKernel) {
		t.Errorf("/proc/version: %v", err)
	}
	file := made(t, tar.Header{Name: "x", Typeflag: tar.TypeReg})
	for _, path := range []string{"/proc/sys/kernel/core_pattern", "/proc/", "/sys/kernel/x", "/proc/self/root/tmp/x"} {
		if _, err := Unpack(t.Context(), bytes.NewReader(file), in, path, Unpacking{}); err == nil || !errors.Is(err, ErrKernel) && !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestCancel(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/a", make([]byte, 1<<20), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Pack(ctx, io.Discard, tree(t, dir), "/", Owners{}, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("pack: %v", err)
	}
	packed, _ := pack(t, dir, "/", ".")
	if _, err := Unpack(ctx, bytes.NewReader(packed), tree(t, t.TempDir()), "/", Unpacking{}); !errors.Is(err, context.Canceled) {
		t.Errorf("unpack: %v", err)
	}
}

func TestOwners(t *testing.T) {
	o, err := parseOwners("         0 1879048192      65536\n")
	must(t, err)
	for outside, inside := range map[uint32]int{1879048192: 0, 1879048192 + 33: 33, 1879048191: nobody, 0: nobody, 1879048192 + 65536: nobody} {
		if got := o.inside(outside); got != inside {
			t.Errorf("%d is %d inside, want %d", outside, got, inside)
		}
	}
	if got, err := o.outside(33); err != nil || got != 1879048192+33 {
		t.Errorf("33 is %d outside, %v", got, err)
	}
	for _, bad := range []int{-1, 65536, 1<<32 - 1} {
		if _, err := o.outside(bad); err == nil {
			t.Errorf("%d has a number outside", bad)
		}
	}
	if o, err := parseOwners("0 0 4294967295"); err != nil || o != (Owners{}) {
		t.Errorf("the machine's own: %+v, %v", o, err)
	}
	if _, err := parseOwners("0 1 2\n3 4 5"); err == nil {
		t.Error("two ranges are no error")
	}
}
