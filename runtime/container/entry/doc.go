// Package entry looks at what a container begins with, its program, user and
// working folder, in a root file system that may be hostile: what would fail where
// nobody can say why any more is found before.
package entry
