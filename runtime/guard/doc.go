// Package guard keeps a panic where it happened: what was being done fails, and
// the daemon goes on. It knows no other package.
package guard
