package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/fcnode/fcnode/runtime/container/entry"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// The descriptors that init gets besides libcontainer's: see server.prepare.
const (
	gateFD = 3 + iota
	filterFD
)

// Names of libcontainer's protocol with its init.
const (
	initPipeEnv = "_LIBCONTAINER_INITPIPE"
	initTypeEnv = "_LIBCONTAINER_INITTYPE"
)

// gateReply is what Gate says to the runner, when it is prepared and when it
// has let init pass or has failed.
type gateReply struct {
	Pid   int         `json:"pid,omitempty"` // when prepared: init's, as the machine numbers it
	Steps []wire.Step `json:"steps,omitempty"`
	Error *wire.Error `json:"error,omitempty"`
}

// Gate holds the container's init, prepared, until there is a request. Call it
// on the main thread, before libcontainer.Init; it returns to let init go on,
// and ends the process when the runner is gone or something fails.
func Gate() {
	if os.Getenv(initTypeEnv) != "standard" {
		return // one more process in a running container
	}
	runtime.LockOSThread() // this thread will be the container's program
	debug.SetGCPercent(-1) // soon
	g := &gate{}
	conn, err := wire.Conn(os.NewFile(gateFD, "gate"))
	if err != nil {
		os.Exit(1)
	}
	g.conn = conn
	if err := g.prepare(); err != nil {
		g.end(err)
	}
	if err := wire.Send(conn, gateReply{Pid: g.pid}); err != nil {
		os.Exit(1) // the runner is gone
	}
	fds, err := wire.Recv(conn, &g.req)
	if err != nil || len(fds) < 1 {
		os.Exit(1) // the same
	}
	g.step("passed on")
	if err := g.pass(fds[0], fds[1:]); err != nil {
		g.end(err)
	}
	if !g.req.Hold { // the shim has forbidden huge pages
		_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0) // a kernel without any
	}
	_ = wire.Send(conn, gateReply{Steps: g.steps}) // for interest only
	_ = conn.Close()
}

// gate is the state of Gate.
type gate struct {
	conn   *net.UnixConn
	pid    int
	system string         // where the system's mounts are prepared
	rootfs string         // where the root file system is mounted
	userns bool           // init is in a user namespace of its own
	doc    map[string]any // libcontainer's document, "config" being a map too
	req    wire.StartRequest
	steps  []wire.Step
}

func (g *gate) end(err error) {
	_ = wire.Send(g.conn, gateReply{Error: asError(err)}) // nobody else to tell
	os.Exit(1)
}

func (g *gate) step(name string) {
	g.steps = append(g.steps, wire.Step{Name: name, At: wire.Now()})
}

// prepare does what no request changes.
func (g *gate) prepare() error {
	config, filter, err := g.readDocument()
	if err != nil {
		return err
	}
	// The /proc that is mounted here is still the machine's.
	self, err := os.Readlink("/proc/self")
	if err == nil {
		g.pid, err = strconv.Atoi(self)
	}
	if err != nil {
		return fmt.Errorf("finding the number of this process: %w", err)
	}
	g.userns = config.Namespaces.Contains(configs.NEWUSER)
	g.system, g.rootfs = systemDir(filepath.Dir(config.Rootfs)), config.Rootfs
	if g.userns {
		err = g.prepareMapped()
	} else {
		err = mounts.System(g.system, nil)
	}
	if err != nil {
		return err
	}
	return startFilter(filter)
}

// readDocument reads what libcontainer has sent, and takes the filter out.
func (g *gate) readDocument() (*configs.Config, *configs.Seccomp, error) {
	fd, err := strconv.Atoi(os.Getenv(initPipeEnv))
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", initPipeEnv, err)
	}
	pipe := os.NewFile(uintptr(fd), "init")
	defer pipe.Close() // read only
	var raw json.RawMessage
	if err := json.NewDecoder(pipe).Decode(&raw); err != nil {
		return nil, nil, fmt.Errorf("reading libcontainer's configuration: %w", err)
	}
	var doc struct {
		Config *configs.Config `json:"config"`
	}
	if err := errors.Join(json.Unmarshal(raw, &doc), json.Unmarshal(raw, &g.doc)); err != nil {
		return nil, nil, fmt.Errorf("decoding libcontainer's configuration: %w", err)
	}
	config, ok := g.doc["config"].(map[string]any)
	if !ok || doc.Config == nil || doc.Config.Seccomp == nil {
		return nil, nil, errors.New("libcontainer's configuration has another form than this version of fcnode-runner knows")
	}
	delete(config, "seccomp") // startFilter has it
	return doc.Config, doc.Config.Seccomp, nil
}

// pass makes what the request asks for, as far as libcontainer does not. first is
// the network namespace or, for an init in a user namespace, the root file
// system.
func (g *gate) pass(first *os.File, volumes mounts.Volumes) error {
	place := g.makeRoot
	if g.userns {
		place = g.placeRoot
	}
	if err := place(first); err != nil {
		return err
	}
	if err := mounts.ResizeShm(filepath.Join(g.system, "dev/shm"), g.req.ShmSize); err != nil {
		return err
	}
	g.step("mounted")
	root, err := os.OpenFile(g.rootfs, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fail(wire.KindRootfs, "opening the root file system: %w", err)
	}
	defer root.Close() // a path descriptor
	if err := entry.System(root); err != nil {
		return err
	}
	if err := moveInto(root, g.system); err != nil {
		return err
	}
	user, err := mounts.LookUser(root, g.req.User)
	if err == nil && g.userns {
		err = user.Within()
	}
	if err != nil {
		return err
	}
	if _, err := entry.Program(root, g.req); err != nil {
		return err
	}
	if err := entry.Cwd(root, g.req); err != nil {
		return err
	}
	if err := g.placeVolumes(root, volumes); err != nil {
		return err
	}
	if err := g.writeDocument(user); err != nil {
		return err
	}
	g.step("configured")
	return nil
}

// makeRoot enters the network namespace and mounts the root file system.
func (g *gate) makeRoot(netns *os.File) error {
	if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace of container %s: %w", g.req.ID, err)
	}
	if err := mountSys(g.system, nil); err != nil {
		return err
	}
	if err := unprivilegedNetwork(); err != nil {
		return err
	}
	g.step("namespaces")
	layers, err := mounts.OpenLayers(g.req.ID, g.req.Lower)
	if err != nil {
		return err
	}
	defer layers.Close()
	if err := makeUpper(g.req, layers); err != nil {
		return err
	}
	g.step("upper")
	return layers.Overlay(rootOf(g.req))
}

// unprivilegedNetwork lets programs that have dropped root listen on port 80, and
// all programs send pings without CAP_NET_RAW: the network namespace is their
// own.
func unprivilegedNetwork() error {
	for name, value := range map[string]string{"ip_unprivileged_port_start": "0", "ping_group_range": "0 2147483647"} {
		err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("allowing low ports and pings: %w", err)
		}
	}
	return nil
}

// writeDocument puts the request into libcontainer's document and passes it on.
func (g *gate) writeDocument(u *mounts.User) error {
	args := g.req.Args
	if g.req.Init != "" {
		args = append([]string{g.req.Init, "--"}, args...)
	}
	g.doc["args"], g.doc["env"], g.doc["cwd"] = args, g.req.Env, g.req.Cwd
	g.doc["uid"], g.doc["gid"], g.doc["additional_groups"] = u.UID, u.GID, u.Groups
	g.doc["capabilities"] = capabilitiesFor(u.UID, g.req.Privileges.Capabilities)
	g.doc["no_new_privileges"] = !g.req.Privileges.New
	g.doc["apparmor_profile"] = g.req.Privileges.AppArmor
	g.doc["passed_files_count"] = 0 // gateFD and filterFD are not for the program
	config, _ := g.doc["config"].(map[string]any)
	config["hostname"] = g.req.Hostname
	config["rootfs"] = g.rootfs
	config["mounts"] = []*configs.Mount{devBind(g.system)}
	text, err := json.Marshal(g.doc)
	if err != nil {
		return fmt.Errorf("encoding libcontainer's configuration: %w", err)
	}
	fd, err := unix.MemfdCreate("init", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a memory file: %w", err)
	}
	// Not closed here: libcontainer takes it by its number.
	if _, err := unix.Write(fd, text); err != nil {
		return fmt.Errorf("writing libcontainer's configuration: %w", err)
	}
	if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
		return fmt.Errorf("writing libcontainer's configuration: %w", err)
	}
	return os.Setenv(initPipeEnv, strconv.Itoa(fd))
}
