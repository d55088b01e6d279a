// Package thread runs functions on threads that are thrown away afterwards, for
// what a thread cannot, or need not, come back from: entering a namespace, above all.
package thread
