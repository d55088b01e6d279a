package criu

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// OwnConnections lists the TCP connections of which both ends belong to the
// processes of one tree. A dump closes connections, since the other end is elsewhere;
// here both ends are in the image, and a web server restored with a dead connection to
// its own PHP answers with an error. Each is listed by the address that was connected to.
func OwnConnections(pids []int) ([]string, error) {
	if len(pids) == 0 {
		return nil, nil
	}
	held := map[string]bool{"0": true} // not accepted yet: nobody's, and the listener's
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended
		}
		for _, fd := range fds {
			target, _ := os.Readlink(filepath.Join(dir, fd.Name())) // closed meanwhile
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				held[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	var own []string
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pids[0], table))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended, or a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list the connections of process %d: %w", pids[0], err)
		}
		found, err := ownConnections(string(b), held)
		if err != nil {
			return nil, fmt.Errorf("list the connections of process %d: %w", pids[0], err)
		}
		own = append(own, found...)
	}
	slices.Sort(own)
	return slices.Compact(own), nil
}

// lively are the states (include/net/tcp_states.h) in which something may still come by a connection:
// established, being made, and closed by one end only.
var lively = []string{"01", "02", "03", "04", "05", "08"}

// orphaned says whether it is nobody's any more: closed by its process, in
// FIN_WAIT1 or FIN_WAIT2. A probe or a visitor of the node's, who have come from
// inside of the namespace, leave such.
func orphaned(state, inode string) bool { return inode == "0" && (state == "04" || state == "05") }

// ends are those of a connection, as one of them sees it.
type ends struct{ local, remote netip.AddrPort }

// ownConnections reads a table of /proc/net; held are the numbers of the sockets that count.
func ownConnections(table string, held map[string]bool) ([]string, error) {
	sockets := map[ends]bool{}
	listening := map[uint16]bool{}
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		fields := strings.Fields(line)
		const inode = 9
		if i == 0 || len(fields) <= inode {
			continue // the head
		}
		local, err := hexAddr(fields[1])
		if err != nil {
			return nil, err
		}
		remote, err := hexAddr(fields[2])
		if err != nil {
			return nil, err
		}
		const listen = "0A"
		listening[local.Port()] = listening[local.Port()] || fields[3] == listen
		if slices.Contains(lively, fields[3]) && held[fields[inode]] && !orphaned(fields[3], fields[inode]) {
			sockets[ends{local, remote}] = true
		}
	}
	var own []string
	for c := range sockets {
		if sockets[ends{c.remote, c.local}] && (listening[c.remote.Port()] || !listening[c.local.Port()]) {
			own = append(own, c.remote.String())
		}
	}
	return own, nil
}

// hexAddr reads an address as the kernel prints it: words of 32 bits in the machine's order.
func hexAddr(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	n, portErr := strconv.ParseUint(port, 16, 16)
	if err := errors.Join(err, portErr); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address: %w", text, err)
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 { // else they are as on the wire
		for word := range slices.Chunk(b, 4) {
			slices.Reverse(word)
		}
	}
	addr, ok := netip.AddrFromSlice(bytes.Clone(b))
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address", text)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
