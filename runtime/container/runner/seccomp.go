//go:build linux

package runner

import (
	"fmt"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// seccompFilter is the default profile of container runtimes for the default
// capabilities, and for the native architecture only: compiling it for the
// foreign ones too takes 26 ms of each start. A program in another
// architecture's system call convention (32 bit x86) is killed.
func seccompFilter() (*configs.Seccomp, error) {
	profile, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: capabilities},
	}})
	if err != nil {
		return nil, fmt.Errorf("making the seccomp profile: %w", err)
	}
	profile.Architectures = nil // native
	filter, err := specconv.SetupSeccomp(profile)
	if err != nil {
		return nil, fmt.Errorf("converting the seccomp profile: %w", err)
	}
	return filter, nil
}
