package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/terminal"
	"github.com/fcnode/fcnode/runtime/api"
)

func newExec(e *env) *cobra.Command {
	var (
		req   api.ExecRequest
		input bool
	)
	cmd := &cobra.Command{
		Use:   "exec [-it] SITE -- COMMAND [ARG...]",
		Short: "Execute a command in a running replica of a site",
		Long: `Executes a command inside a running replica, as the site's user and with its
environment. It does not wake a sleeping site. The exit code is that of the command,
or 128 + N if signal N ended it. Signals are forwarded to the command.

The command is confined like the replica, by the same namespaces, capabilities and
limits. It gets pipes or a terminal of its own, never the caller's files. When it,
this program or the daemon ends, every process that it started is killed, background
ones included.`,
		Example: "  fcnode exec blog -- cat /etc/hosts\n  fcnode exec -it blog -- sh",
		Args: func(_ *cobra.Command, args []string) error {
			if len(execArgs(args)) < 2 {
				return errors.New("no command given: use fcnode exec SITE -- COMMAND")
			}
			return nil
		},
		ValidArgsFunction: completeSites(e, 1),
	}
	flags := cmd.Flags()
	// What follows the site is the command's, flags too; the -- is for the eye.
	flags.SetInterspersed(false)
	flags.BoolVarP(&input, "stdin", "i", false, "forward standard input (default: empty)")
	flags.BoolVarP(&req.TTY, "tty", "t", false, "give the command a terminal")
	flags.StringVar(&req.Replica, "replica", "", "use the replica with this `ID` (default the oldest)")
	flags.StringArrayVarP(&req.Env, "env", "e", nil, "add `NAME=VALUE` to the environment")
	flags.StringVarP(&req.Cwd, "workdir", "w", "", "start in this `FOLDER` (default the site's)")
	flags.StringVarP(&req.User, "user", "u", "", "run as this `USER[:GROUP]` (default the site's)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		args = execArgs(args)
		req.Args = args[1:]
		// Signals are the command's; it decides when this ends.
		ctx := context.WithoutCancel(cmd.Context())
		client := e.client()
		defer client.Close()
		var result api.ExecResult
		var err error
		if req.TTY {
			result, err = execTerminal(ctx, e, client, args[0], req, input)
		} else {
			result, err = execPlain(ctx, e, client, args[0], req, input)
		}
		if err == nil && result.Code != 0 {
			err = exitCode(result.Code)
		}
		return err
	}
	return cmd
}

// execArgs leaves out the -- behind the site.
func execArgs(args []string) []string {
	if len(args) > 1 && args[1] == "--" {
		return append(args[:1:1], args[2:]...)
	}
	return args
}

func execTerminal(ctx context.Context, e *env, client *api.Client, site string, req api.ExecRequest, input bool) (result api.ExecResult, err error) {
	user, ok := terminal.File(e.stdin)
	if !ok || !input {
		return result, &hinted{err: errors.New("-t needs -i and a terminal as standard input"), hint: "leave out -t"}
	}
	req.Rows, req.Cols = terminal.Size(user)
	session, err := client.Exec(ctx, site, req)
	if err != nil {
		return result, err
	}
	defer session.Close()
	stop := passSignals(session) // those that are typed are the terminal's
	defer stop()
	err = terminal.Join(user, terminal.Raw(e.stdout), session.Terminal(), func() error {
		result, err = session.Wait()
		return err
	})
	return result, err
}

func execPlain(ctx context.Context, e *env, client *api.Client, site string, req api.ExecRequest, input bool) (result api.ExecResult, err error) {
	var in io.Reader
	if input {
		in = e.stdin
	}
	session, err := client.Exec(ctx, site, req)
	if err != nil {
		return result, err
	}
	defer session.Close()
	stop := passSignals(session)
	defer stop()
	err = terminal.JoinPipes(in, terminal.Raw(e.stdout), terminal.Raw(e.stderr), terminal.Pipes(session.Stdio()), func() error {
		result, err = session.Wait()
		return err
	})
	return result, err
}

// passSignals sends the signals that this process gets to the session's.
func passSignals(session *api.Session) (stop func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			// A process that has just ended cannot be signalled; Wait tells.
			_ = session.Signal(s.(syscall.Signal))
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
