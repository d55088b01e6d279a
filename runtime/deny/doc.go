// Package deny keeps the sources that may not reach the node: those that an
// operator, fail2ban or CrowdSec has named. The kernel drops them in front of
// everything else and by itself, also while no daemon runs; the state file has
// them for the next boot.
package deny
