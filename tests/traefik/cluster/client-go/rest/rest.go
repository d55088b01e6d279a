// Package rest stands for the client of Kubernetes that Traefik asks for its pod: there is no cluster.
package rest

import "errors"

// Config is nothing, as there is nobody to talk to.
type Config struct{}

// ErrNotInCluster is what InClusterConfig says.
var ErrNotInCluster = errors.New("not in a cluster")

// InClusterConfig finds no cluster.
func InClusterConfig() (*Config, error) { return nil, ErrNotInCluster }
