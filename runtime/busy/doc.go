// Package busy decides whether a site without visitors is at work: two samples of
// what a replica has used go in, a sentence for people comes out. It has no I/O and
// no clock.
package busy
