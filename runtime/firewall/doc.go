// Package firewall follows the rules of the machine's own firewall, and has the
// data path take no short way past them: netfilter comes after the programs that
// steer, so a ban would hold while a site sleeps and not while it runs.
package firewall
