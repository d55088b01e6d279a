package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/config"
)

// runFlags are the flags of run which replace values of the configuration.
type runFlags struct {
	config, stateDir, runDir, sitesDir, runner string
	log                                        logFlags
}

func newRun(e *env) *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Runs the daemon until SIGTERM or SIGINT. The daemon adopts the sites that an earlier
one left running, and leaves its own sites running when it ends: the kernel continues
to steer their packets.

Without a configuration file the daemon uses defaults that touch nothing outside of its
own device, prefixes, cgroup and folders. It notifies systemd when it is ready.`,
		Args: cobra.NoArgs,
	}
	addConfig(cmd, &flags.config)
	f := cmd.Flags()
	f.StringVar(&flags.stateDir, "state-dir", "", "override stateDir of the configuration")
	f.StringVar(&flags.runDir, "run-dir", "", "override runDir of the configuration")
	f.StringVar(&flags.sitesDir, "sites-dir", "", "override sitesDir of the configuration")
	f.StringVar(&flags.runner, "runner", "", "override runner of the configuration")
	flags.log.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := flags.log.logger(e.stderr)
		if err != nil {
			return err
		}
		cfg, err := flags.load(e)
		if err != nil {
			return err
		}
		supervisor := notifier{log: log}
		defer supervisor.stopping()
		return e.node(cmd.Context(), cfg, log, func(status string, stalled func(time.Duration) string) {
			supervisor.ready(status)
			if interval := supervisor.watchdog(); interval > 0 {
				go supervisor.feed(cmd.Context(), interval, stalled)
			}
		})
	}
	return cmd
}

// load reads the configuration and lets the flags replace parts of it.
func (f *runFlags) load(e *env) (config.Config, error) {
	cfg, err := config.Load(f.config)
	if err != nil {
		return cfg, err
	}
	if f.runDir != "" {
		// Sockets move with their folder, unless they were put elsewhere.
		if rel, err := filepath.Rel(cfg.RunDir, cfg.Socket); err == nil && filepath.IsLocal(rel) {
			cfg.Socket = filepath.Join(f.runDir, rel)
		}
		if cfg.Routes.Socket == config.RoutesSocket(cfg.RunDir) {
			cfg.Routes.Socket = config.RoutesSocket(f.runDir)
		}
		cfg.RunDir = f.runDir
	}
	for _, o := range []struct {
		flag string
		into *string
	}{{f.stateDir, &cfg.StateDir}, {f.sitesDir, &cfg.SitesDir}, {f.runner, &cfg.Runner}, {e.socketPath(), &cfg.Socket}} {
		if o.flag != "" {
			*o.into = o.flag
		}
	}
	if err := cfg.Validate(); err != nil {
		return cfg, fmt.Errorf("the configuration with the flags of the command line: %w", err)
	}
	return cfg, nil
}
