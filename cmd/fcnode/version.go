package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// version is set when a release is linked: -ldflags "-X main.version=1.2.3".
var version = "dev"

// daemonTimeout is how long `version` waits for a daemon, which it can do
// without.
const daemonTimeout = time.Second

// buildInfo is what is known about this binary.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Daemon is the version of the daemon that answers, if one does.
	Daemon string `json:"daemon,omitempty"`
}

// thisBuild describes this binary.
func thisBuild() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if b.Revision != "" {
		b.Revision += dirty
	}
	return b
}

func newVersion(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of this program and of the daemon",
		Args:  cobra.NoArgs,
	}
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		build := thisBuild()
		ctx, cancel := context.WithTimeout(cmd.Context(), daemonTimeout)
		defer cancel()
		client := e.client()
		defer client.Close()
		if info, err := client.Info(ctx); err == nil {
			build.Daemon = info.Version
		}
		if *output == formatJSON {
			return printJSON(e.stdout, build)
		}
		text := fmt.Sprintf("fcnode %s", build.Version)
		if build.Revision != "" {
			text += fmt.Sprintf(" (%s)", build.Revision)
		}
		fmt.Fprintf(e.stdout, "%s, %s, %s\n", text, build.Go, build.Platform)
		if build.Daemon != "" {
			fmt.Fprintf(e.stdout, "daemon %s\n", build.Daemon)
		}
		return nil
	}
	return cmd
}
