// Package v1 stands for what requests to Kubernetes are made of.
package v1

// GetOptions are those of a request.
type GetOptions struct{}
