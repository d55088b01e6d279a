package criu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

const limit = 20 * time.Second

// script writes a program that takes CRIU's place.
func script(t *testing.T, text string) *Tool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "criu")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Tool{Path: path}
}

// TestSessionEnds: a program that is not CRIU, or dies, is an error, not a wait.
func TestSessionEnds(t *testing.T) {
	s, err := script(t, "exit 1\n").Start(SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Version(testutil.Context(t, limit)); err == nil || !strings.Contains(err.Error(), "without an answer") {
		t.Errorf("the error is %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := (&Tool{Path: "/nonexistent/criu"}).Start(SessionOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// TestSessionCancelled: a request ends with its context, and the process with it.
func TestSessionCancelled(t *testing.T) {
	s, err := script(t, "exec sleep 3600\n").Start(SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // has ended
	ctx, cancel := context.WithCancelCause(testutil.Context(t, limit))
	why := errors.New("no visitor waits")
	cancel(why)
	if _, err := s.Features(ctx); !errors.Is(err, why) {
		t.Errorf("the error is %v", err)
	}
	testutil.WaitExit(t, limit, s.Pid())
}

// TestPatience: a dump is not broken off with its context, but some time later.
func TestPatience(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	patient, done := patience(ctx, HungAfter)
	cancel()
	if patient.Err() != nil {
		t.Error("CRIU is killed at once")
	}
	done()
	if patient.Err() == nil {
		t.Error("the context does not end when the dump is over")
	}
}

func TestFindSays(t *testing.T) {
	_, err := Find(testutil.Context(t, limit), script(t, "exit 1\n").Path)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "/criu: criu's process ended") {
		t.Errorf("the error is %v", err)
	}
}

func TestFindWhatIsHere(t *testing.T) {
	tool, err := Find(testutil.Context(t, limit), "")
	if err != nil {
		if !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		t.Skipf("%s CRIU: %v", testutil.SkipMarker, err)
	}
	t.Log(tool)
	if tool.Version.Major < 4 {
		t.Errorf("it is said to be %+v", tool)
	}
	m, err := ThisMachine(tool)
	if err != nil {
		t.Fatal(err)
	}
	if m.Kernel == "" || m.Boot == "" || m.Arch == "" || len(m.CPU) == 0 || !slices.IsSorted(m.CPU) || m.fits(m) != nil {
		t.Errorf("the machine is %+v", m)
	}
}

func TestOutcome(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, logFile), []byte("Error (criu/a.c:1): why\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	yes, no, msg := true, false, "said"
	if err := outcome("dump", ErrDump, &rpc.CriuResp{Success: &yes}, nil, dir); err != nil {
		t.Error(err)
	}
	err := outcome("dump", ErrDump, &rpc.CriuResp{Success: &no, CrErrmsg: &msg}, nil, dir)
	if !errors.Is(err, ErrDump) || !strings.Contains(err.Error(), "why") {
		t.Error(err)
	}
	err = outcome("dump", ErrDump, &rpc.CriuResp{Success: &no, CrErrmsg: &msg}, nil, t.TempDir())
	if !strings.Contains(err.Error(), "said") {
		t.Error(err)
	}
}

// peer takes CRIU's place at the other end of a session: it sends what it is given, one after
// the other, and returns what was answered to each.
func peer(t *testing.T, say ...*rpc.CriuResp) (*Session, <-chan []*rpc.CriuReq) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	t.Cleanup(func() { _ = ours.Close() })
	heard := make(chan []*rpc.CriuReq, 1)
	go func() {
		defer theirs.Close()
		var all []*rpc.CriuReq
		buf := make([]byte, maxReply)
		for _, s := range say {
			req := &rpc.CriuReq{}
			n, err := theirs.Read(buf)
			if err == nil {
				err = req.UnmarshalVT(buf[:n])
			}
			msg, merr := s.MarshalVT()
			if err = errors.Join(err, merr); err == nil {
				all = append(all, req)
				_, err = theirs.Write(msg)
			}
			if err != nil {
				t.Error(err)
				break
			}
		}
		heard <- all
	}()
	return &Session{conn: ours}, heard
}

func notification(script string) *rpc.CriuResp {
	return &rpc.CriuResp{
		Type: rpc.CriuReqType_NOTIFY.Enum(), Success: ptr(true), Notify: &rpc.CriuNotify{Script: &script, Pid: ptr[int32](42)},
	}
}

// TestRestoreApproval: CRIU has an answer to each of its questions, and what Approve says to the one that matters.
func TestRestoreApproval(t *testing.T) {
	done := func(yes bool) *rpc.CriuResp {
		return &rpc.CriuResp{Type: rpc.CriuReqType_RESTORE.Enum(), Success: &yes, Restore: &rpc.CriuRestoreResp{Pid: ptr[int32](42)}}
	}
	shut := errors.New("shut")
	for name, tt := range map[string]struct {
		say  []*rpc.CriuResp
		says error
		yes  []bool
		want error
	}{
		"open": {
			say: []*rpc.CriuResp{notification("setup-namespaces"), notification("post-restore"), notification("pre-resume"), done(true)},
			yes: []bool{true, true, true},
		},
		"shut":      {say: []*rpc.CriuResp{notification("post-restore"), done(false)}, says: shut, yes: []bool{false}, want: shut},
		"a liar":    {say: []*rpc.CriuResp{notification("post-restore"), done(true)}, says: shut, yes: []bool{false}, want: shut},
		"terminal":  {say: []*rpc.CriuResp{notification("orphan-pts-master"), done(false)}, yes: []bool{false}, want: ErrRestore},
		"not asked": {say: []*rpc.CriuResp{notification("pre-resume"), done(true)}, yes: []bool{true}, want: ErrRestore},
	} {
		t.Run(name, func(t *testing.T) {
			s, heard := peer(t, tt.say...)
			dir := t.TempDir()
			born := false
			check := func(root int) {
				if root != 42 {
					t.Errorf("the root is said to be %d", root)
				}
			}
			root, err := s.Restore(testutil.Context(t, limit), RestoreOptions{Images: dir, Work: dir, Created: func(root int) {
				check(root)
				born = true
			}, Approve: func(root int) error {
				check(root)
				return tt.says
			}})
			if !errors.Is(err, tt.want) || err == nil && (root != 42 || !born) {
				t.Errorf("process %d, error %v; told of its birth: %v", root, err, born)
			}
			all := <-heard
			if len(all) == 0 || !all[0].GetOpts().GetNotifyScripts() {
				t.Fatalf("asked was %v", all)
			}
			var yes []bool
			for _, r := range all[1:] {
				yes = append(yes, r.GetNotifySuccess())
			}
			if !slices.Equal(yes, tt.yes) {
				t.Errorf("answered was %v, want %v", yes, tt.yes)
			}
		})
	}
}
