package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/folders"
	"github.com/fcnode/fcnode/runtime/node"
	"github.com/fcnode/fcnode/runtime/store"
)

func newState(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Export what the node keeps of its sites, and import it",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newStateExport(e), newStateImport(e))
	return cmd
}

func newStateExport(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "export FILE|-",
		Short: "Write the sites, their addresses and the denied sources to a file",
		Long: `Writes what the node keeps of its sites as it is at one moment: specs with their
environment, addresses, digests of images, reserved addresses and denied sources. It is
text, a line of JSON for each site, with a checksum at its end, and readable for its
owner alone. Images, volumes, secrets, logs and earlier versions of specs are not in it.

The daemon keeps the same beside its state file, as state.db.copy: where no daemon runs
any more, take that.`,
		Example: "  fcnode state export /backup/node.state\n  fcnode state export - | ssh vault 'cat > node.state'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := e.client()
			defer client.Close()
			return toFile(e, args[0], "none", func(w io.Writer) error { return client.State(cmd.Context(), w) })
		},
	}
}

// maxState bounds what is read of an export (bytes).
const maxState = 4 << 30

func newStateImport(e *env) *cobra.Command {
	var flags runFlags
	var replace bool
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Begin with the sites of an export",
		Long: `Gives the node the sites of an export, or of a state.db.copy, with their addresses: all
of them, or with an error none. Stop the daemon first (systemctl stop fcnode); the next
one serves them. It pulls their images again when they wake, unless it has them; put
volumes and secrets where the specs say before.

A node that has sites loses them, so that takes --replace, and fcnode teardown before, if
any of them runs. Its state file is kept as state.db.before-import.`,
		Args: cobra.ExactArgs(1),
	}
	addConfig(cmd, &flags.config)
	cmd.Flags().BoolVar(&replace, "replace", false, "also where the node has sites, which are gone then")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := flags.load(e)
		if err != nil {
			return err
		}
		in, name := e.stdin, "stdin"
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close() // read only
			in, name = f, args[0]
		}
		text, err := io.ReadAll(io.LimitReader(in, maxState))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		sites, err := e.take(cmd.Context(), cfg, name, text, replace)
		switch {
		case errors.Is(err, store.ErrNotEmpty):
			return &hinted{err: err, hint: "--replace imports all the same"}
		case errors.Is(err, folders.ErrSecondDaemon):
			return &hinted{err: err, hint: "stop the daemon first: systemctl stop fcnode"}
		case errors.Is(err, node.ErrReplicas):
			return &hinted{err: err, hint: "it ends all sites, and breaks their connections"}
		case err != nil:
			return err
		}
		fmt.Fprintf(e.stdout, "%d sites; the next daemon serves them: systemctl start fcnode\n", sites)
		return nil
	}
	return cmd
}
