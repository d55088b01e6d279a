package apparmor

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the profile
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Prefix begins the names of all versions of fcnode's profile.
const Prefix = "fcnode-site-"

// The kernel's files.
const (
	enabledFile = "/sys/module/apparmor/parameters/enabled"
	policyDir   = "/sys/kernel/security/apparmor"
)

// loadWithin bounds how long the parser may take.
const loadWithin = 30 * time.Second

//go:embed profile
var template string

// Name is that of fcnode's profile.
func Name() string {
	sum := sha256.Sum256([]byte(template))
	return Prefix + hex.EncodeToString(sum[:6])
}

func text() string { return strings.ReplaceAll(template, "@NAME@", Name()) }

// Enabled says whether the kernel has AppArmor, switched on.
func Enabled() bool {
	b, err := os.ReadFile(enabledFile)
	return err == nil && len(b) > 0 && b[0] == 'Y'
}

// Profiles are those that the processes of sites can have on this machine.
type Profiles struct {
	Own  string // the name of fcnode's, which is loaded; "" where it is not
	Lack error  // why it is not, with what to do; nil where the kernel has no AppArmor
}

// Open loads fcnode's profile where the kernel has AppArmor.
func Open(ctx context.Context) Profiles {
	if !Enabled() {
		return Profiles{}
	}
	if err := Ensure(ctx); err != nil {
		return Profiles{Lack: err}
	}
	return Profiles{Own: Name()}
}

// Ensure loads fcnode's profile if it is not there: tools that tidy up unload what
// is in no file of /etc/apparmor.d. One that is there stays as it is.
func Ensure(ctx context.Context) error {
	if err := load(ctx); err != nil {
		return fmt.Errorf("loading the AppArmor profile of sites: %w", err)
	}
	return nil
}

// Look is Open without loading anything: the profile may only be one that can be
// loaded.
func Look(ctx context.Context) (has Profiles, loaded bool) {
	if !Enabled() {
		return Profiles{}, false
	}
	all, err := list()
	if loaded = all[Name()] == "enforce"; err == nil && !loaded {
		err = parse(ctx, "--skip-kernel-load")
	}
	if err != nil {
		return Profiles{Lack: err}, false
	}
	return Profiles{Own: Name()}, loaded
}

func load(ctx context.Context) error {
	all, err := list()
	if err != nil || all[Name()] == "enforce" {
		return err
	}
	if err := parse(ctx, "--replace"); err != nil { // in one step, should it be there in another mode
		return err
	}
	return Loaded(Name())
}

// parsers are where AppArmor's program may be.
var parsers = []string{"/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"}

// parse lets AppArmor's own program read the profile, and do something with it.
func parse(ctx context.Context, do string) error {
	ctx, cancel := context.WithTimeout(ctx, loadWithin)
	defer cancel()
	for _, parser := range parsers {
		cmd := exec.CommandContext(ctx, parser, do, "--skip-cache", "--quiet")
		cmd.Stdin = strings.NewReader(text())
		out, err := cmd.CombinedOutput()
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s: %w: %s", parser, err, bytes.TrimSpace(out))
		}
	}
	return errors.New("there is no apparmor_parser: install it (Debian: apt install apparmor) and restart fcnode")
}

// Loaded is nil if there is a profile of this name that refuses what it does not
// allow.
func Loaded(name string) error {
	if !Enabled() {
		return errors.New("the kernel has no AppArmor, or it is switched off (apparmor=0)")
	}
	all, err := list()
	if err != nil {
		return err
	}
	switch mode := all[name]; mode {
	case "":
		return fmt.Errorf("no AppArmor profile %s is loaded (apparmor_parser --replace FILE loads one; aa-status lists them)", name)
	case "enforce", "kill":
		return nil
	default:
		return fmt.Errorf("the AppArmor profile %s refuses nothing: its mode is %s (aa-enforce %s)", name, mode, name)
	}
}

// list gives all profiles and their modes.
func list() (map[string]string, error) {
	b, err := os.ReadFile(filepath.Join(policyDir, "profiles"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("AppArmor's files are missing: mount -t securityfs securityfs %s", filepath.Dir(policyDir))
	}
	if err != nil {
		return nil, fmt.Errorf("listing the profiles of AppArmor: %w", err)
	}
	return parseList(string(b)), nil
}

// parseList reads lines like "NAME (enforce)".
func parseList(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		name, mode := split(line)
		all[name] = mode
	}
	return all
}

func split(text string) (name, mode string) {
	text = strings.TrimRight(text, "\n\x00")
	if i := strings.LastIndex(text, " ("); i >= 0 && strings.HasSuffix(text, ")") {
		return text[:i], text[i+2 : len(text)-1]
	}
	return text, ""
}

// Of is the profile of a process; "" where it has none.
func Of(pid int) (string, error) {
	if !Enabled() {
		return "", nil
	}
	dir := fmt.Sprintf("/proc/%d/attr", pid)
	b, err := os.ReadFile(filepath.Join(dir, "apparmor/current"))
	if errors.Is(err, fs.ErrNotExist) { // Linux before 5.8
		b, err = os.ReadFile(filepath.Join(dir, "current"))
	}
	if err != nil {
		return "", fmt.Errorf("reading the AppArmor profile of process %d: %w", pid, err)
	}
	name, _ := split(string(b))
	if name == "unconfined" {
		return "", nil
	}
	return name, nil
}

// Unload takes all versions of fcnode's profile out of the kernel that no process
// has: other nodes may run on this machine, and processes whose profile is gone are
// not confined any more.
func Unload() error {
	if !Enabled() {
		return nil
	}
	all, err := list()
	if err != nil {
		return nil //nolint:nilerr // without the kernel's files nothing was loaded
	}
	used, err := inUse()
	if err != nil {
		return err
	}
	var errs []error
	for name := range all {
		if !strings.HasPrefix(name, Prefix) || used[name] {
			continue
		}
		if err := os.WriteFile(filepath.Join(policyDir, ".remove"), []byte(name), 0); err != nil {
			errs = append(errs, fmt.Errorf("removing the AppArmor profile %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// inUse are the profiles of all processes.
func inUse() (map[string]bool, error) {
	pids, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("looking which AppArmor profiles are used: %w", err)
	}
	used := map[string]bool{}
	for _, p := range pids {
		if pid, err := strconv.Atoi(p.Name()); err == nil {
			name, _ := Of(pid) // of one that ends there is none
			used[name] = true
		}
	}
	return used, nil
}
