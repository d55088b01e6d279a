package spec

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Port is a port, or a range of them, and its protocol, written 80/tcp or 5000-5100/udp.
type Port struct {
	// Port is 1 to 65535; of a range the first.
	Port uint16
	// Last is the last port of a range, above Port; 0: it is one port.
	Last uint16
	// Proto is "tcp" or "udp".
	Proto string
}

const (
	portAllowed = "a port from 1 to 65535, or a range of them like 5000-5100, with /tcp or /udp, like 80/tcp (without: tcp)"
	portNumber  = `(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})`
	portPattern = `^` + portNumber + `(-` + portNumber + `)?(/(tcp|udp))?$`

	// MaxPortNumbers is how many ports a site may have, those in ranges one by one.
	MaxPortNumbers = 16384
)

var portForm = regexp.MustCompile(portPattern)

// ParsePort reads 80/tcp, 53/udp, 80 or 5000-5100/udp. Errors are of type *strictyaml.Invalid.
func ParsePort(text string) (Port, error) {
	if !portForm.MatchString(text) {
		hint := ""
		if _, inner, ok := strings.Cut(text, ":"); ok && portForm.MatchString(inner) {
			hint = fmt.Sprintf(": ports are not mapped, a site has an address of its own; write %s", inner)
		}
		return Port{}, strictyaml.Bad(portAllowed, "%q is not a port%s", text, hint)
	}
	numbers, proto, ok := strings.Cut(text, "/")
	if !ok {
		proto = "tcp"
	}
	first, last, ranged := strings.Cut(numbers, "-")
	p := Port{Port: portOf(first), Proto: proto}
	if !ranged {
		return p, nil
	}
	if p.Last = portOf(last); p.Last <= p.Port {
		return Port{}, strictyaml.Bad(portAllowed, "%q is no range: it ends before its second port", text)
	}
	return p, nil
}

// portOf reads what portForm has found to be a port.
func portOf(number string) uint16 {
	n, _ := strconv.ParseUint(number, 10, 16)
	return uint16(n)
}

// IsRange says whether it is more than one port.
func (p Port) IsRange() bool { return p.Last != 0 }

// Count is how many ports it is.
func (p Port) Count() int { return int(max(p.Last, p.Port)) - int(p.Port) + 1 }

// Has says whether the port is it, or in it.
func (p Port) Has(port uint16, proto string) bool {
	return p.Proto == proto && port >= p.Port && port <= max(p.Last, p.Port)
}

// overlaps says whether a port is in both.
func (p Port) overlaps(q Port) bool {
	return p.Proto == q.Proto && p.Port <= max(q.Last, q.Port) && q.Port <= max(p.Last, p.Port)
}

// CountPorts is how many ports a site with this list has.
func CountPorts(ports []Port) (n int) {
	for _, p := range ports {
		n += p.Count()
	}
	return n
}

// String gives 80/tcp.
func (p Port) String() string {
	number := strconv.Itoa(int(p.Port))
	if p.IsRange() {
		number += "-" + strconv.Itoa(int(p.Last))
	}
	return number + "/" + p.Proto
}

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (p Port) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Port) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePort(string(text))
	return err
}
