// Command bench measures fcnode against others and writes docs/performance.md.
// It needs root; everything happens in namespaces of its own, and loads are
// bounded. Each comparison is made in one run, in turns, so that a ratio holds
// although the machine is noisy.
//
//	make bench
//	go run ./tests/bench -bin bin -only wake,steady,parked -write docs/performance.md
package main
