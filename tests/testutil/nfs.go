package testutil

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/fcnode/fcnode/runtime/thread"
	"golang.org/x/sys/unix"
)

// nfsdDir is where the sandbox mounts the controls of the kernel's NFS server.
const nfsdDir = "/run/nfsd"

// ServeNFS has the kernel serve a folder by NFS 4 in a network namespace, as the root
// of all that is exported there, to anybody. What user space does for such a server
// (rpc.mountd answers the kernel's questions who may see what) is said to it ahead.
func ServeNFS(t testing.TB, ns *NS, folder string) {
	t.Helper()
	RequireFeature(t, "NFS")
	// The first to use them could load them, though not from a namespace in each case.
	if out, err := exec.CommandContext(t.Context(), "modprobe", "-a", "nfsd", "nfsv4").CombinedOutput(); err != nil {
		t.Fatalf("loading the modules of NFS: %v\n%s", err, out)
	}
	dir := filepath.Join(nfsdDir, Unique(t))
	in := func(fn func() error) error {
		return thread.Throwaway(func() error {
			if err := unix.Setns(ns.FD(), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("entering the server's network namespace: %w", err)
			}
			return fn()
		})
	}
	write := func(path, text string) error {
		if err := os.WriteFile(path, []byte(text), 0); err != nil {
			return fmt.Errorf("telling the NFS server %q: %w", text, err)
		}
		return nil
	}
	err := in(func() error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("nfsd", dir, "nfsd", 0, ""); err != nil {
			return fmt.Errorf("mounting nfsd: %w", err)
		}
		const rpc, never = "/proc/thread-self/net/rpc/", "2147483647"
		var errs error
		for a := range 2 { // the ends of the cable
			ip := net.IPv4(203, 0, 113, byte(a+1)).String()
			errs = errors.Join(errs, write(rpc+"auth.unix.ip/channel", "nfsd "+ip+" "+never+" anybody\n"))
		}
		const rw, noRootSquash, insecure, noSubtree, fsid, anyone = 0, 0, 0x2, 0x400, 0x2000, "65534 65534"
		return errors.Join(errs,
			write(rpc+"nfsd.export/channel", fmt.Sprintf("anybody %s %s %d %s 0\n", folder, never, rw|noRootSquash|insecure|noSubtree|fsid, anyone)),
			write(rpc+"nfsd.fh/channel", fmt.Sprintf("anybody 1 \\x00000000 %s %s\n", never, folder)),
			// The least that there is: for so long nobody may open a file, as those that an earlier server let do would come first.
			write(dir+"/nfsv4leasetime", "10\n"), write(dir+"/nfsv4gracetime", "10\n"),
			write(dir+"/versions", "-2 -3 +4 +4.1 +4.2\n"), write(dir+"/portlist", "tcp 2049\n"), write(dir+"/threads", "2\n"))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := in(func() error {
			return errors.Join(write(dir+"/threads", "0\n"), write("/proc/thread-self/net/rpc/nfsd.fh/flush", "2147483647\n"),
				write("/proc/thread-self/net/rpc/nfsd.export/flush", "2147483647\n"), unix.Unmount(dir, unix.MNT_DETACH))
		})
		if err != nil {
			t.Error(err)
		}
	})
}
