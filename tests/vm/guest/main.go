// Command guest is process 1 of the rig's virtual machines. In the initramfs it reaches the disks and makes
// the first one its root; from there it runs the job that lies on the second one, tells
// the host everything through a virtio port, and switches the machine off. For what needs systemd it makes systemd
// process 1 in its place, with a unit that runs it once more.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	// The kernel hands its first program the parameters that it does not know itself.
	stage := enterRoot
	switch os.Args[len(os.Args)-1] {
	case stageRoot:
		stage = runJob
	case stageSystemd:
		stage = runSystemdJob
	}
	err := stage()
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
