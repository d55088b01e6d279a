// Fcnode-gateway serves the domains of fcnode's sites on shared addresses: it finds the site by Host or SNI and forwards to its
// VIP. See docs/gateway.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/front"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// version is set when building.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "fcnode-gateway:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("fcnode-gateway", flag.ContinueOnError)
	config := flags.String("config", "", "the configuration `FILE` (default "+conf.DefaultPath+", which may be missing)")
	check := flags.Bool("check", false, "read the configuration, say what is wrong with it, and end")
	show := flags.Bool("version", false, "print the version, and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if *show {
		_, err := fmt.Fprintln(stdout, "fcnode-gateway", version)
		return err
	}
	cfg, err := conf.Load(*config)
	if err != nil || *check {
		return err
	}
	return serve(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// serve runs a gateway until the context ends.
func serve(ctx context.Context, cfg conf.Config, log *slog.Logger) error {
	g, err := front.New(cfg, log)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	feed := &routes.Feed{
		Socket: cfg.Routes, File: filepath.Join(cfg.StateDir, "routes.jsonl"), Table: g.Table, Log: log, Changed: g.Changed,
	}
	feed.Load()
	reload := make(chan os.Signal, 1) // before anybody is told that the gateway is ready
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	if err := g.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{}, 2)
	go func() { feed.Follow(ctx); done <- struct{}{} }()
	go func() { g.Run(ctx); done <- struct{}{} }()
	log.Info("serving", "version", version, "http", cfg.HTTP, "https", cfg.HTTPS, "sites", len(g.Table.Sites()))
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-reload:
			if err := g.Reload(); err != nil {
				log.Error("nothing was read anew", "error", err)
			} else {
				log.Info("certificates were read anew")
			}
		}
	}
	<-done
	<-done
	return g.Stop()
}
