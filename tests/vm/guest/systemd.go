package main

import (
	"fmt"
	"os"

	"github.com/fcnode/fcnode/tests/vm/wire"
	"golang.org/x/sys/unix"
)

// stageSystemd is the argument that tells this program that systemd has started it.
const stageSystemd = "under-systemd"

const (
	jobUnit     = "fcnode-job.service"
	jobUnitText = `[Unit]
Description=the rig's job
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=` + jobDir + `/guest ` + stageSystemd + `
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
`
)

// becomeSystemd makes systemd process 1 in place of this program; it finds the mounts done.
// It returns only when that fails.
func becomeSystemd() error {
	const systemd = "/lib/systemd/systemd"
	if err := os.WriteFile("/etc/systemd/system/"+jobUnit, []byte(jobUnitText), 0o600); err != nil {
		return fmt.Errorf("writing the job's unit: %w", err)
	}
	// An image without an identity would let systemd treat this as its first boot.
	if err := os.WriteFile("/etc/machine-id", []byte("fc0de000000000000000000000000001\n"), 0o444); err != nil {
		return fmt.Errorf("writing the machine's identity: %w", err)
	}
	argv := []string{systemd, "--system", "--unit=" + jobUnit, "--log-level=warning", "--show-status=no"}
	return fmt.Errorf("running systemd: %w", unix.Exec(systemd, argv, os.Environ()))
}

// runSystemdJob runs what of the job wants systemd, as a service of it.
func runSystemdJob() error {
	host, err := openPort()
	if err != nil {
		return err
	}
	defer host.close()
	job, err := readJob()
	if err != nil {
		return err
	}
	job.Env = append(job.Env, "FCNODE_OWN_MACHINE=1", "HOME=/root")
	if err := runBinaries(host, job, true); err != nil {
		return err
	}
	host.say(wire.Message{Kind: wire.Done})
	return nil
}
