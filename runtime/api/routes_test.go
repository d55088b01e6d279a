package api_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// The feed begins with its version, says when it is complete, and goes on with what changes.
func TestRoutes(t *testing.T) {
	r := start(t)
	r.blog(t)
	all, err := collect(r.Routes(t.Context(), false))
	want := []api.RouteUpdate{
		{Version: api.RoutesVersion}, {Route: &api.Route{Site: "blog", Domains: []string{"blog.example"}}}, {Synced: true},
	}
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Fatalf("routes: %v\n%s", err, diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	news := make(chan string, 1)
	go func() {
		for u, err := range r.Routes(ctx, true) {
			if err != nil {
				return
			}
			if u.Gone != "" {
				news <- u.Gone
			}
		}
	}()
	if got := testutil.Receive(t, patience, "a change", news); got != "blog" {
		t.Errorf("the change is about %q", got)
	}
}

// The socket of the routes answers nothing else: who may read it can neither see nor change sites.
func TestRoutesServerAnswersNothingElse(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ln, _, err := api.Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	backend := newMemory()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- api.NewRoutesServer(backend, slog.New(slog.DiscardHandler)).Serve(ctx, ln) }()
	defer func() {
		cancel()
		if err := testutil.Receive(t, patience, "the end of the server", served); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	client := api.NewClient(socket)
	defer client.Close()
	if all, err := collect(client.Routes(t.Context(), false)); err != nil || len(all) != 2 {
		t.Errorf("routes: %v, %v", all, err)
	}
	_, listErr := client.List(t.Context())
	_, wakeErr := client.Wake(t.Context(), "blog")
	_, execErr := client.Info(t.Context())
	for call, err := range map[string]error{
		"list": listErr, "wake": wakeErr, "info": execErr, "delete": client.Delete(t.Context(), "blog"), "metrics": client.Metrics(t.Context(), nil),
	} {
		var refused *api.Error
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v, want a refusal", call, err)
		}
	}
}
