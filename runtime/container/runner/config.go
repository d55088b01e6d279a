package runner

import (
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// umask is a container's, whatever the daemon's is.
var umask uint32 = 0o022

// oomScore is a container's oom_score_adj: where the machine has no memory left
// the kernel ends sites rather than what else runs on it.
const oomScore = 500

// baseConfig is libcontainer's configuration as far as no request changes it;
// gate.writeDocument adds the rest.
func baseConfig(runDir string) (*configs.Config, error) {
	filter, err := seccompProfile(os.Getenv(wire.ForeignEnv))
	if err != nil {
		return nil, err
	}
	limits, err := resourceLimits()
	if err != nil {
		return nil, err
	}
	score := oomScore
	return &configs.Config{
		Rootfs:          filepath.Join(runDir, wire.RootfsDir),
		RootPropagation: unix.MS_SLAVE | unix.MS_REC,
		Namespaces: configs.Namespaces{ // Gate enters the network namespace
			{Type: configs.NEWNS}, {Type: configs.NEWPID}, {Type: configs.NEWIPC}, {Type: configs.NEWUTS}, {Type: configs.NEWCGROUP},
		},
		Capabilities:    &configs.Capabilities{}, // the request has them
		NoNewPrivileges: true,                    // unless the request says otherwise
		Rlimits:         limits,
		OomScoreAdj:     &score,
		Umask:           &umask,
		Seccomp:         filter,
		Mounts:          []*configs.Mount{devBind(systemDir(runDir))},
		// See the package comment. The name is one that does not exist.
		Cgroups: &cgroups.Cgroup{Name: "left-alone", Rootless: true, Resources: &cgroups.Resources{}},
	}, nil
}

// capabilitiesFor gives all to root and, as container runtimes do, none to
// others; they stay in the bounding set, for programs that raise privileges.
func capabilitiesFor(uid int, all []string) *configs.Capabilities {
	c := &configs.Capabilities{Bounding: all}
	if uid == 0 {
		c.Effective, c.Permitted = all, all
	}
	return c
}

// devBind is the mount of /dev that mountSystem has prepared. It is left to
// libcontainer, which fills a /dev that it has not bound itself.
func devBind(dir string) *configs.Mount {
	return &configs.Mount{Source: filepath.Join(dir, "dev"), Destination: "/dev", Device: "bind", Flags: unix.MS_BIND | unix.MS_REC}
}
