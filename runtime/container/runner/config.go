//go:build linux

package runner

import (
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// capabilities are what container runtimes leave to a container by default.
var capabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP",
	"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// umask is a container's, whatever the daemon's is.
var umask uint32 = 0o022

// baseConfig is libcontainer's configuration as far as no request changes it;
// gate.writeDocument adds the rest.
func baseConfig(runDir string) (*configs.Config, error) {
	filter, err := seccompProfile()
	if err != nil {
		return nil, err
	}
	score := 0
	return &configs.Config{
		Rootfs:          filepath.Join(runDir, wire.RootfsDir),
		RootPropagation: unix.MS_SLAVE | unix.MS_REC,
		Namespaces: configs.Namespaces{ // Gate enters the network namespace
			{Type: configs.NEWNS}, {Type: configs.NEWPID}, {Type: configs.NEWIPC}, {Type: configs.NEWUTS}, {Type: configs.NEWCGROUP},
		},
		Capabilities:    capabilitiesFor(0),
		NoNewPrivileges: true,
		OomScoreAdj:     &score,
		Umask:           &umask,
		Seccomp:         filter,
		Mounts:          []*configs.Mount{devBind(systemDir(runDir))},
		// See the package comment. The name is one that does not exist.
		Cgroups: &cgroups.Cgroup{Name: "left-alone", Rootless: true, Resources: &cgroups.Resources{}},
	}, nil
}

// capabilitiesFor gives all to root and, as container runtimes do, none to
// others; they stay in the bounding set, which no_new_privs makes moot.
func capabilitiesFor(uid int) *configs.Capabilities {
	c := &configs.Capabilities{Bounding: capabilities}
	if uid == 0 {
		c.Effective, c.Permitted = capabilities, capabilities
	}
	return c
}

// devBind is the mount of /dev that mountSystem has prepared. It is left to
// libcontainer, which fills a /dev that it has not bound itself.
func devBind(dir string) *configs.Mount {
	return &configs.Mount{Source: filepath.Join(dir, "dev"), Destination: "/dev", Device: "bind", Flags: unix.MS_BIND | unix.MS_REC}
}
