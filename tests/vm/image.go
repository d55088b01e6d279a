package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// image is what image.sh made for a release.
type image struct {
	kernelRelease string
	kernel        string // path of vmlinuz
	root          string // path of the root disk
	modules       string // folder of the modules the first stage loads
}

// sourceDir is the rig's folder relative to the module's root, from where it is run.
const sourceDir = "tests/vm"

// findImage returns the image of a release, making it on first use.
func findImage(ctx context.Context, release string) (image, error) {
	cmd := exec.CommandContext(ctx, "bash", filepath.Join(sourceDir, "image.sh"), release)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return image{}, fmt.Errorf("making the image of %s (run from the module's root): %w", release, err)
	}
	dir := strings.TrimSpace(string(out))
	version, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return image{}, fmt.Errorf("reading the image of %s: %w", release, err)
	}
	return image{
		kernelRelease: string(bytes.TrimSpace(version)),
		kernel:        filepath.Join(dir, "vmlinuz"),
		root:          filepath.Join(dir, "root.ext4"),
		modules:       filepath.Join(dir, "modules"),
	}, nil
}

// writeInitramfs writes the archive the kernel boots into: the guest as /init and the modules it needs to reach
// the disks.
func writeInitramfs(path, guest, modules string) error {
	var a archive
	for _, dir := range []string{"dev", "proc", "sys", "modules", "newroot"} {
		a.dir(dir)
	}
	// Without it the kernel gives its first process no standard output.
	a.charDevice("dev/console", 5, 1)
	files, err := filepath.Glob(modules + "/*.ko")
	if err != nil {
		return err
	}
	for _, f := range append(files, guest) {
		data, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("reading for the initramfs: %w", err)
		}
		name := "modules/" + filepath.Base(f)
		if f == guest {
			name = "init"
		}
		a.file(name, data)
	}
	if err := os.WriteFile(path, a.bytes(), 0o600); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	return nil
}
