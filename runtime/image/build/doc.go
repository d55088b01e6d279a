// Package build makes small container images on the spot: an OCI layout or a
// `docker save` archive from files that are given or in memory, without a
// registry or a container engine. The demo packs its one static binary with it,
// tests make every image they need, including ones that no honest tool would
// write.
//
// The same input gives the same digest: what is not set is zero, modification
// times are 1970, entries keep their order.
package build
