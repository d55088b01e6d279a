package spec

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Ignored are sources whose packets are no visits: uptime monitors, health checks, bots. They do not wake the site, and while it is
// awake it serves them, but they neither keep it awake nor count for scaling. In a file a list is Sources.
type Ignored struct {
	// Sources are addresses and prefixes: 192.0.2.7, 198.51.100.0/24, 2001:db8::/64. Those of the node's configuration count besides.
	Sources []Source `json:"sources,omitempty" also:"source,from,addresses,cidrs,prefixes"`
	// Answer is what they get while the site sleeps: refuse (as for a port that nobody listens on), accept (the node itself accepts the
	// connection and ends it) or http (the node itself answers a request by status). UDP is refused in any case. Default: that of the
	// node's configuration, refuse if it says nothing.
	Answer string `json:"answer,omitzero" also:"reply,response,action"`
	// Status is that of answer: http, 200 to 599. Default: 204.
	Status int `json:"status,omitzero" also:"code"`
}

// The words of ignore.answer.
const (
	IgnoredRefuse = "refuse"
	IgnoredAccept = "accept"
	IgnoredHTTP   = "http"
)

// DefaultIgnoredStatus is what answer: http says where no status is given.
const DefaultIgnoredStatus = http.StatusNoContent

const (
	maxSources    = 1024
	sourceAllowed = "an address or a prefix, like 192.0.2.7, 198.51.100.0/24 or 2001:db8::/64"
	sourcePattern = `^([0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?|[0-9a-fA-F]*:[0-9a-fA-F:]*(/[0-9]{1,3})?)$`
)

var ignoredAnswers = []string{IgnoredRefuse, IgnoredAccept, IgnoredHTTP}

// IsZero says whether nothing was said, which the canonical JSON leaves out.
func (i Ignored) IsZero() bool { return len(i.Sources) == 0 && i.Answer == "" && i.Status == 0 }

// DecodeList implements strictyaml.ListDecoder.
func (i *Ignored) DecodeList() any {
	*i = Ignored{}
	return &i.Sources
}

// Over is what holds for a site where i is said of it and node of all sites: the sources of both.
func (i Ignored) Over(node Ignored) Ignored {
	if i.Answer == "" {
		i.Answer, i.Status = node.Answer, node.Status
	}
	if i.Answer == "" {
		i.Answer = IgnoredRefuse
	}
	if i.Status == 0 {
		i.Status = DefaultIgnoredStatus
	}
	i.Sources = append(i.Sources[:len(i.Sources):len(i.Sources)], node.Sources...)
	return i
}

// Source is an address or a prefix that packets come from.
type Source struct{ netip.Prefix }

// ParseSource reads one. Errors are of type *strictyaml.Invalid.
func ParseSource(text string) (Source, error) {
	bad := func(format string, args ...any) (Source, error) {
		return Source{}, strictyaml.Bad(sourceAllowed, "%q "+format, append([]any{text}, args...)...)
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(text); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	switch {
	case strings.Contains(text, "%"):
		return bad("has a zone, which no packet tells")
	case err != nil:
		return bad("is no address and no prefix")
	case p.Addr().Is4In6() && p.IsSingleIP():
		return bad("is an IPv4 address in the form of IPv6; did you mean %s?", p.Addr().Unmap())
	case p.Addr().Is4In6():
		return bad("is an IPv4 prefix in the form of IPv6: write it as IPv4")
	}
	return Source{p}, nil
}

// String gives the form that ParseSource reads.
func (s Source) String() string {
	if s.IsSingleIP() {
		return s.Addr().String()
	}
	return s.Prefix.String()
}

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Source) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSource(string(text))
	return err
}

// Check tells what is wrong; the paths are below "ignore".
func (i Ignored) Check(report func(path string, err error)) {
	c := checker{report: report}
	if len(i.Sources) > maxSources {
		c.bad("ignore.sources", fmt.Sprintf("up to %d", maxSources), "has %d entries", len(i.Sources))
		return
	}
	for n, s := range i.Sources {
		at := fmt.Sprintf("ignore.sources[%d]", n)
		switch {
		case !s.IsValid():
			c.bad(at, sourceAllowed, "is empty")
		case s.Prefix != s.Masked():
			c.bad(at, "", "%s has bits behind its length; did you mean %s?", s, s.Masked())
		case s.Bits() == 0:
			c.bad(at, sourceAllowed, "%s is everybody: nobody would wake the site", s)
		case s.Addr().IsMulticast() || s.Addr().IsUnspecified() || s.Addr().IsLoopback():
			c.bad(at, sourceAllowed, "%s: no packet for a site comes from there", s)
		default:
			c.covered(i.Sources, n)
		}
	}
	c.word("ignore.answer", i.Answer, ignoredAnswers)
	switch {
	case i.Status != 0 && i.Answer != IgnoredHTTP:
		c.bad("ignore.status", "only beside answer: http", "has no effect")
	case i.Status != 0 && (i.Status < http.StatusOK || i.Status > 599):
		c.bad("ignore.status", "200 to 599", "%d is out of range", i.Status)
	}
}

// covered complains of a source that overlaps an earlier one.
func (c checker) covered(all []Source, n int) {
	at, s := fmt.Sprintf("ignore.sources[%d]", n), all[n]
	for m, other := range all[:n] {
		switch {
		case s == other:
			c.bad(at, "", "%s stands in the list twice", s)
		case s.Overlaps(other.Prefix):
			c.bad(at, "sources that do not overlap", "%s overlaps with %s of ignore.sources[%d]", s, other, m)
		default:
			continue
		}
		return
	}
}
