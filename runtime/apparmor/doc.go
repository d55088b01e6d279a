// Package apparmor owns fcnode's AppArmor profile for the processes of sites: its
// text, its name, and that it is loaded where the kernel has AppArmor.
//
// The name contains a digest of the text. Another text is another profile, so
// replicas that run keep the one that they were started with.
package apparmor
