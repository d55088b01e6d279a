// Package inside answers the API about what goes on inside of replicas: commands that
// are executed there, files that are copied out and in, connections to their ports.
package inside

import (
	"context"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/life"
)

// Replicas implements the part of api.Backend that is about the inside of replicas.
type Replicas struct {
	host   *life.Host
	byName func(name string) (*life.Site, error)
	wake   func(ctx context.Context, name string) (api.Site, error)
}

// New answers for the sites that byName finds; wake returns when a site serves.
func New(host *life.Host, byName func(string) (*life.Site, error), wake func(context.Context, string) (api.Site, error)) Replicas {
	return Replicas{host, byName, wake}
}
