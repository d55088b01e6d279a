package stage

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Teller shows what is done on a stage, and does it by the fcnode program, as a
// user would.
type Teller struct {
	*Stage
	Stdout, Stderr io.Writer
}

// Say prints a paragraph.
func (t Teller) Say(format string, args ...any) {
	fmt.Fprintf(t.Stdout, "\n"+format+"\n\n", args...)
}

// ShowFile prints a file.
func (t Teller) ShowFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		fmt.Fprint(t.Stdout, "    ", line)
	}
	fmt.Fprintln(t.Stdout)
	return nil
}

// Fcnode shows a command and runs it.
func (t Teller) Fcnode(ctx context.Context, args ...string) error {
	fmt.Fprintf(t.Stdout, "$ fcnode %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, t.Program, args...)
	cmd.Env = append(os.Environ(), "FCNODE_SOCKET="+t.Socket())
	cmd.Stdout, cmd.Stderr = t.Stdout, t.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fcnode %s: %w", strings.Join(args, " "), err)
	}
	fmt.Fprintln(t.Stdout)
	return nil
}
