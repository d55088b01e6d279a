//go:build linux

// Command guest is process 1 of the rig's virtual machines. In the initramfs it reaches the disks and makes
// the first one its root; from there it runs the job that lies on the second one, tells
// the host everything through a virtio port, and switches the machine off.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == stageRoot {
		err = runJob()
	} else {
		err = enterRoot()
	}
	if err != nil {
		// The console is what the host shows of a machine that did not say "done".
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintf(os.Stderr, "guest: switching off: %v\n", err)
	}
	select {} // process 1 must not end: that would be a panic instead of what was printed
}
