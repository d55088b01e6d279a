package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// awake starts a rig with one running site.
func awake(t *testing.T) *rig {
	t.Helper()
	r := start(t)
	r.blog(t)
	if _, err := r.Wake(t.Context(), "blog"); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestExec(t *testing.T) {
	r := awake(t)
	before := openFiles(t)
	s, err := r.Exec(t.Context(), "blog", api.ExecRequest{Args: []string{"sh", "-c", "cat; echo oops >&2; exit 7"}})
	if err != nil {
		t.Fatal(err)
	}
	if s.PID() <= 0 || s.Terminal() != nil {
		t.Errorf("pid %d, terminal %v", s.PID(), s.Terminal())
	}
	// More than a pipe or a socket buffers: the data really flows, both ways.
	big := strings.Repeat("0123456789abcdef", 1<<16)
	go func() {
		_, _ = io.WriteString(s.Stdio().In, big)
		s.Stdio().In.Close()
	}()
	// The ends of both files say that the daemon holds no copies.
	if got, err := io.ReadAll(s.Stdio().Out); err != nil || string(got) != big {
		t.Errorf("stdout: %d bytes, %v; want %d", len(got), err, len(big))
	}
	if got, err := io.ReadAll(s.Stdio().Err); err != nil || string(got) != "oops\n" {
		t.Errorf("stderr = %q, %v", got, err)
	}
	if result, err := s.Wait(); err != nil || result != (api.ExecResult{Code: 7}) {
		t.Errorf("result = %+v, %v", result, err)
	}
	s.Close()
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, were %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

func TestExecSignal(t *testing.T) {
	r := awake(t)
	s, err := r.Exec(t.Context(), "blog", api.ExecRequest{Args: []string{"sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.ReadFull(s.Stdio().Out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if result, err := s.Wait(); err != nil || result.Code != 9 {
		t.Errorf("result = %+v, %v", result, err)
	}
}

func TestExecTerminal(t *testing.T) {
	r := awake(t)
	s, err := r.Exec(t.Context(), "blog", api.ExecRequest{
		Args: []string{"sh", "-c", "tty; stty size; read x; echo got $x; exit 3"}, TTY: true, Rows: 33, Cols: 101,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.WriteString(s.Terminal(), "hello\n"); err != nil {
		t.Fatal(err)
	}
	// The master reads EIO when the last slave is closed.
	text, err := io.ReadAll(s.Terminal())
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("terminal: %v", err)
	}
	for _, want := range []string{"/dev/pts/", "33 101", "got hello"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("terminal shows %q, without %q", text, want)
		}
	}
	if result, err := s.Wait(); err != nil || result.Code != 3 {
		t.Errorf("result = %+v, %v", result, err)
	}
}

func TestExecErrors(t *testing.T) {
	r := awake(t)
	for _, tt := range []struct {
		name, site string
		args       []string
		want       error
	}{
		{"no site", "nobody", []string{"true"}, api.ErrNotFound},
		{"no command", "blog", nil, api.ErrInvalid},
		{"no program", "blog", []string{"/does/not/exist"}, api.ErrInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := r.Exec(t.Context(), tt.site, api.ExecRequest{Args: tt.args}); !errors.Is(err, tt.want) {
				t.Errorf("err = %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := api.NewClient(r.socket+"x").Exec(t.Context(), "blog", api.ExecRequest{Args: []string{"true"}}); !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("no daemon: %v", err)
	}
}

// A process does not outlive its client, nor the daemon an exec.
func TestExecIsKilled(t *testing.T) {
	tests := []struct {
		name string
		end  func(r *rig, s *api.Session, cancel func())
		want error
	}{
		{"client closes", func(_ *rig, s *api.Session, _ func()) { s.Close() }, nil},
		{"client's context ends", func(_ *rig, _ *api.Session, cancel func()) { cancel() }, context.Canceled},
		{"daemon stops", func(r *rig, _ *api.Session, _ func()) { r.stop() }, api.ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := awake(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s, err := r.Exec(ctx, "blog", api.ExecRequest{Args: []string{"sleep", "3600"}})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			tt.end(r, s, cancel)
			testutil.WaitFor(t, patience, "the process' end", func() error {
				if err := syscall.Kill(s.PID(), 0); !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("it is there: %w", err)
				}
				return nil
			})
			if tt.want == nil {
				return
			}
			if _, err := s.Wait(); !errors.Is(err, tt.want) {
				t.Errorf("Wait = %v, want %v", err, tt.want)
			}
		})
	}
}
