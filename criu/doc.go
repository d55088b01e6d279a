// Package criu makes checkpoint images of process trees and restores them, by
// the CRIU program.
//
//	Find ──▶ Tool ──▶ Session (a `criu swrk` process) ──▶ Dump, Restore, …
//
// A Session speaks CRIU's RPC over a socket pair and can be started ahead of
// its use, in the cgroup and the namespaces where a tree is to be restored.
// What is dumped and restored is the caller's business (runtime/container);
// this package knows the program, the images as files, and what to make of an
// error.
//
// # Images
//
// A checkpoint is a folder:
//
//	manifest.json   what it is an image of and what it fits; written last
//	images/         CRIU's files, each with size and checksum in the manifest, and what the maker puts beside them
//	upper/          the replica's writable layer; it is put here when the
//	                processes of the dump are gone, and only then is the
//	                checkpoint complete
//
// Verify is for all of it but the memory, which takes as long to read as CRIU takes to copy it: VerifyMemory may run beside
// Session.Restore, as nothing of the tree runs before RestoreOptions.Approve says that it may.
//
// It is written as .new-* beside its place, synced, and renamed. An image is good for
// one restore: Consume renames it away first, so that no crash can lead to a
// second one. Two processes restored from one image would draw the same random
// numbers; docs/checkpoints.md shows it. Only who knows that this does no harm may
// declare an image clonable.
package criu
