// Package errors stands for those of Kubernetes, of which none comes.
package errors

// IsForbidden says that it is none of these.
func IsForbidden(error) bool { return false }

// IsNotFound says that it is none of these.
func IsNotFound(error) bool { return false }
