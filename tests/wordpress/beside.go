package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// The database's machine, in a network of its own, which no site reaches unless
// its spec allows it.
const (
	dbCable    = "db0"
	dbNodeAddr = "10.88.0.1"
	dbAddr     = "10.88.0.2"
	dbPort     = 3306
	nobody     = 65534 // as whom it runs
)

const registryHost = "127.0.0.1:5000" // in the network namespace of the stage, so it is free

// program is one of Debian's packages that runs beside the node, with the root
// file system that tests/apps/build.sh has made of it.
type program struct {
	root string
	data string // folder below the root that it writes to
	argv []string
	env  []string
	log  string
	uid  int // whose its data are

	cmd   *exec.Cmd
	ended chan error // its one value is what Wait said
}

// start starts it. Its files are read-only, or nobody's to change: what it
// writes goes into memory that ends with this mount namespace.
func (p *program) start(start func(*exec.Cmd) error) error {
	name := filepath.Base(p.argv[0])
	for _, dir := range []string{p.data, "/tmp", "/run"} {
		if err := p.overlay(dir); err != nil {
			return fmt.Errorf("give %s a writable %s: %w", name, dir, err)
		}
	}
	if err := p.own(); err != nil {
		return fmt.Errorf("give %s its data: %w", name, err)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.argv[0], p.argv[1:]...)
	p.cmd.Path, p.cmd.Err = p.argv[0], nil // it is looked for below its own root
	p.cmd.Dir, p.cmd.Env = "/", p.env
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &unix.SysProcAttr{Chroot: p.root, Setpgid: true} // Ctrl-C is for the demo
	if err := start(p.cmd); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p.ended = make(chan error, 1)
	go func() { p.ended <- p.cmd.Wait() }()
	return nil
}

// overlay makes a folder below the root writable, with what is in it.
func (p *program) overlay(dir string) error {
	over := p.log + ".files" + dir
	upper, work := filepath.Join(over, "upper"), filepath.Join(over, "work")
	lower := filepath.Join(p.root, dir)
	var st unix.Stat_t
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755), unix.Stat(lower, &st)); err != nil {
		return err
	}
	if err := errors.Join(unix.Chown(upper, int(st.Uid), int(st.Gid)), unix.Chmod(upper, st.Mode&0o7777)); err != nil {
		return err
	}
	return unix.Mount("overlay", lower, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work)
}

// own gives the program its data, which a machine of Vagrant's gets as root's.
func (p *program) own() error {
	return filepath.WalkDir(filepath.Join(p.root, p.data), func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if err == nil && int(st.Uid) != p.uid {
			err = unix.Lchown(path, p.uid, p.uid)
		}
		return err
	})
}

// await waits until it accepts connections.
func (p *program) await(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), addr string) error {
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := dial(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case end := <-p.ended:
			p.ended <- end
			text, _ := os.ReadFile(p.log) // all there is to be said
			return fmt.Errorf("%s has ended: %w\n%s", p.argv[0], end, text)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s at %s: %w (%w)", p.argv[0], addr, ctx.Err(), err)
		case <-retry.C:
		}
	}
}

// stop ends it.
func (p *program) stop() error {
	if p.cmd == nil || p.cmd.Process == nil {
		return nil
	}
	// Its data end with the stage: there is nothing that it had to write.
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended //nolint:errcheck // that it was killed
	return nil
}

// startRegistry starts Debian's docker-registry on loopback.
func startRegistry(ctx context.Context, s *stage.Stage, apps string) (*program, error) {
	p := &program{
		root: filepath.Join(apps, "registry"), data: "/var/lib", log: s.File("registry.log"),
		argv: []string{"/usr/bin/docker-registry", "serve", "/etc/fcnode-registry.yml"},
		env:  []string{"REGISTRY_HTTP_ADDR=" + registryHost, "OTEL_TRACES_EXPORTER=none"},
	}
	if err := p.start((*exec.Cmd).Start); err != nil {
		return p, err
	}
	return p, p.await(ctx, (&net.Dialer{}).DialContext, registryHost)
}

// startDatabase starts MariaDB on a machine beside the node, with what sql says.
func startDatabase(ctx context.Context, s *stage.Stage, apps, sql string) (*program, error) {
	m, err := s.Machine(dbCable, dbNodeAddr, dbAddr)
	if err != nil {
		return nil, err
	}
	p := &program{
		root: filepath.Join(apps, "mariadb"), data: "/var/lib/mysql", log: s.File("mariadb.log"), uid: nobody,
		argv: []string{
			"/usr/sbin/mariadbd", "--no-defaults", "--user=nobody", "--datadir=/var/lib/mysql", "--socket=/tmp/mariadb.sock", "--pid-file=/tmp/mariadb.pid",
			"--bind-address=" + dbAddr, "--port=" + strconv.Itoa(dbPort), "--init-file=/tmp/customers.sql", "--skip-name-resolve",
			"--innodb-log-file-size=4M", "--innodb-buffer-pool-size=32M",
		},
	}
	file := filepath.Join(p.log+".files", "tmp", "upper", "customers.sql")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(sql), 0o644)); err != nil { //nolint:gosec // nobody reads it
		return nil, err
	}
	if err := p.start(m.Start); err != nil {
		return p, err
	}
	return p, p.await(ctx, m.Dial, net.JoinHostPort(dbAddr, strconv.Itoa(dbPort)))
}
