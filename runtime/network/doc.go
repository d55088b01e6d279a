// Package network turns the words of specs and of the configuration (whom sites may
// talk to, and who is no visitor of theirs) into the rules of the data path, and what it refused back into words: the
// line of a spec that would allow it.
package network
