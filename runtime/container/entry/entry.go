package entry

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
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// defaultPath is where programs are looked for when the image says nothing.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// machines are what programs may be made for, by Go's names of architectures.
var machines = map[string]elf.Machine{
	"386": elf.EM_386, "arm": elf.EM_ARM,
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390, "ppc64le": elf.EM_PPC64,
}

// Program finds what execve(2) would refuse after the last moment at which the
// runner can say so: a program of another machine, or one whose interpreter is
// missing. found is false for a program that is not in the image: libcontainer
// looks again, with all volumes mounted.
func Program(root *os.File, req wire.StartRequest) (found bool, err error) {
	if len(req.Args) == 0 {
		return false, wire.Fail(wire.KindExec, "container %s has nothing to execute: neither the site nor its image names a command", req.ID)
	}
	name, f := find(root, req)
	for range maxInterpreters {
		if f == nil {
			return name != "", nil
		}
		interp, script, err := interpreter(f, req.Foreign)
		_ = f.Close() // read only
		if err != nil {
			return true, wire.Fail(wire.KindExec, "%s in the image of container %s cannot be executed: %w", name, req.ID, err)
		}
		if interp == "" || hidden(req, interp) {
			return true, nil
		}
		if f, err = executable(root, interp); err != nil {
			return true, wire.Fail(wire.KindExec, "%s in the image of container %s needs the interpreter %s: %w", name, req.ID, interp, err)
		}
		if !script { // the kernel looks no further
			return true, f.Close()
		}
		name = interp
	}
	_ = f.Close() // the same
	return true, wire.Fail(wire.KindExec, "%s in the image of container %s is an interpreter that needs an interpreter itself, more than %d deep: %w", name, req.ID, maxInterpreters, unix.ELOOP)
}

// maxInterpreters is how many scripts the kernel follows, each the interpreter of
// the one before, with the program at their end.
const maxInterpreters = 6

// executable opens a file that may be executed by somebody.
func executable(root *os.File, name string) (*os.File, error) {
	f, err := mounts.OpenIn(root, name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && (!st.Mode().IsRegular() || st.Mode()&0o111 == 0) {
		err = fmt.Errorf("it is no executable file, its mode is %s", st.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// find opens the program as the container will find it; nil if it cannot be seen
// yet, without a name if it is not there.
func find(root *os.File, req wire.StartRequest) (string, *os.File) {
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
		if hidden(req, c) {
			return c, nil
		}
		if f, err := executable(root, c); err == nil {
			return c, f
		}
	}
	return "", nil
}

// hidden says whether something is mounted over a path of the image, or over what
// it lies in.
func hidden(req wire.StartRequest, file string) bool {
	within := func(dir string) bool { return volume.Within(file, dir) }
	return slices.ContainsFunc(req.Mounts, func(m wire.Mount) bool { return within(path.Clean(m.Target)) }) ||
		slices.ContainsFunc([]string{"/proc", "/sys", "/dev"}, within)
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
func interpreter(f *os.File, foreign []string) (name string, script bool, err error) {
	head := make([]byte, 256)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, err
	}
	head = head[:n]
	if line, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		name, err = ofScript(line)
		return name, true, err
	}
	if !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return "", false, fmt.Errorf("it is neither an ELF program nor a script with #! (%w)", unix.ENOEXEC)
	}
	name, err = elfInterpreter(f, foreign)
	return name, false, err
}

// ofScript gives the interpreter that the first line of a script names, as the
// kernel reads it: a carriage return belongs to the name.
func ofScript(line []byte) (string, error) {
	line, _, _ = bytes.Cut(line, []byte("\n"))
	name, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimLeft(string(line), " \t"), "\t", " "), " ")
	switch {
	case strings.HasSuffix(name, "\r"):
		return "", fmt.Errorf("its first line %q ends in a carriage return: write it with the line ends of Unix (dos2unix)", "#!"+string(line))
	case !strings.HasPrefix(name, "/"):
		return "", fmt.Errorf("its first line %q names no interpreter", "#!"+string(line))
	}
	return name, nil
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
