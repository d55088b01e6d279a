package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/fcnode/fcnode/tests/apps"
)

// benchGateway has the gateway's own bench, which is in the gateway's module as it brings Caddy along, ask a container on this node by
// its VIP: directly, and through front ends that are processes on the node.
func benchGateway(ctx context.Context, o options, r *report) (err error) {
	s, err := open(ctx, o, "gateway", "")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	vip, err := deploy(ctx, s, filepath.Join(o.bin, demoSite))
	if err != nil {
		return err
	}
	program := s.File("front.test")
	build := exec.CommandContext(ctx, "go", "test", "-C", "cmd/fcnode-gateway", "-c", "-vet=off", "-o", program, "./internal/front")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the gateway's bench (run this one in the project's folder): %w\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, program, "-test.run", "^$", "-test.bench", "Front|Flood", "-test.benchtime", "1x")
	cmd.Env = append(os.Environ(), "FCNODE_BENCH_SITE="+vip.String())
	root, err := appRoots() // nginx is there
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Env, apps.EnvDir+"="+root)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("the gateway's bench: %w\n%s", err, out)
	}
	r.printf("## Behind a shared address\n\nThe demo site in its container, asked on the node by 16 visitors who keep their connections, in rounds of 400 ms that take turns: " +
		"by its VIP (`direct`), through Caddy and nginx as one configures them by hand, and through fcnode-gateway. " +
		"Visitors, front end and site share the cores, and ratios are medians of the rounds' ratios; the front end's CPU for a request is the steadier figure. " +
		"Then one site is visited a hundred times a second while eight sources ask another as fast as they are answered, past what the gateway lets each have.\n\n")
	told := false
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if line := lines.Text(); line == "" && told || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "- Goal") {
			r.printf("%s\n", line)
			told = true
		}
	}
	if !told {
		return errors.New("the gateway's bench told nothing")
	}
	return nil
}
