package runner

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// defaultPath is where programs are looked for when the image says nothing.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// machines are what programs may be made for, by Go's names of architectures.
var machines = map[string]elf.Machine{
	"386": elf.EM_386, "arm": elf.EM_ARM,
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390, "ppc64le": elf.EM_PPC64,
}

// checkEntry finds what execve(2) would refuse after the last moment at which
// the runner can say so: a program of another machine, or one whose interpreter
// is missing. A program that is not found is left to libcontainer, which looks
// with all volumes mounted.
func checkEntry(root *os.File, req wire.StartRequest) error {
	if len(req.Args) == 0 {
		return fail(wire.KindExec, "container %s has nothing to execute: neither the site nor its image names a command", req.ID)
	}
	name, f := findEntry(root, req)
	if f == nil {
		return nil
	}
	defer f.Close() // read only
	interp, err := interpreter(f, req.Foreign)
	if err != nil {
		return fail(wire.KindExec, "%s in the image of container %s cannot be executed: %w", name, req.ID, err)
	}
	if interp == "" || inVolume(req, interp) {
		return nil
	}
	i, err := mounts.OpenIn(root, interp)
	if err != nil {
		return fail(wire.KindExec, "%s in the image of container %s needs the interpreter %s: %w", name, req.ID, interp, err)
	}
	return i.Close()
}

// findEntry opens the program as the container will find it; nil if it is not there.
func findEntry(root *os.File, req wire.StartRequest) (string, *os.File) {
	name := req.Args[0]
	candidates := []string{name}
	switch {
	case strings.HasPrefix(name, "/"):
	case strings.Contains(name, "/"):
		candidates = []string{path.Join("/", req.Cwd, name)}
	default:
		candidates = nil
		for _, dir := range strings.Split(lookEnv(req.Env, "PATH", defaultPath), ":") {
			candidates = append(candidates, path.Join(dir, name))
		}
	}
	for _, c := range candidates {
		if inVolume(req, c) {
			return "", nil // cannot be seen yet
		}
		f, err := mounts.OpenIn(root, c)
		if err != nil {
			continue
		}
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return c, f
		}
		_ = f.Close() // not it
	}
	return "", nil
}

func inVolume(req wire.StartRequest, file string) bool {
	for _, m := range req.Mounts {
		if strings.HasPrefix(file, strings.TrimSuffix(m.Target, "/")+"/") || file == m.Target {
			return true
		}
	}
	return false
}

func lookEnv(env []string, key, missing string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], key+"="); ok {
			return v
		}
	}
	return missing
}

// interpreter says which other program the kernel needs to execute f, if any.
func interpreter(f *os.File, foreign []string) (string, error) {
	head := make([]byte, 256)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	if line, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		fields := strings.Fields(string(line))
		if len(fields) == 0 || !strings.HasPrefix(fields[0], "/") {
			return "", fmt.Errorf("its first line %q names no interpreter", "#!"+string(line))
		}
		return fields[0], nil
	}
	if !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return "", fmt.Errorf("it is neither an ELF program nor a script with #! (%w)", unix.ENOEXEC)
	}
	return elfInterpreter(f, foreign)
}

func elfInterpreter(f *os.File, foreign []string) (string, error) {
	e, err := elf.NewFile(f)
	if err != nil {
		return "", err
	}
	if native, known := machines[runtime.GOARCH]; known && e.Machine != native {
		if !slices.ContainsFunc(foreign, func(name string) bool { return machines[name] == e.Machine }) {
			return "", fmt.Errorf("it is made for %s, this machine is %s%s", e.Machine, native, sayArchitectures(e.Machine))
		}
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, min(p.Filesz, 4096))
		if _, err := p.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		return strings.TrimRight(string(b), "\x00"), nil
	}
	return "", nil
}

// sayArchitectures is what helps where the machine runs such programs, too.
func sayArchitectures(of elf.Machine) string {
	for name, native := range map[string]string{"386": "amd64", "arm": "arm64"} {
		if machines[name] == of && runtime.GOARCH == native {
			return fmt.Sprintf("; to allow it add architectures: [%s, %s] to the spec", native, name)
		}
	}
	return ""
}

// classify turns libcontainer's error into one that says what is wrong with the
// site. libcontainer reports what happened in the container's init as text.
func classify(req wire.StartRequest, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "no space left on device"):
		return fail(wire.KindNoSpace, "starting container %s: %w", req.ID, err)
	case strings.Contains(text, "exec: "):
		return fail(wire.KindExec, "there is no executable file %s in the image of container %s: %w", req.Args[0], req.ID, err)
	case strings.Contains(text, "chdir to cwd"):
		return fail(wire.KindExec, "the working folder %s of container %s: %w", req.Cwd, req.ID, err)
	}
	return fmt.Errorf("starting container %s: %w", req.ID, err)
}
