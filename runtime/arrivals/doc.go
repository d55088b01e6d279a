// Package arrivals owns who came when: it reads each second what the kernel has
// counted for the replicas (Meter), and keeps how many arrivals each site had in
// which minute (Record), in the format of the request traces that `fcnode replay`
// reads. Counts only: nothing of who they were, or what they asked for.
package arrivals
