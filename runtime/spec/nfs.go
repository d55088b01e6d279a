package spec

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// nfsScheme begins the source of a volume that a server exports by NFS.
const nfsScheme = "nfs://"

// nfsPort is where servers listen of whom nobody says otherwise.
const nfsPort = 2049

// NFSAllowed is the form of such a source.
const NFSAllowed = "nfs://SERVER[:PORT]/PATH, with a clean path as the server exports it"

const (
	hostPattern  = `[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?`
	sharePattern = `^nfs://(\[[0-9a-fA-F:.]+\]|` + hostPattern + `)(:[0-9]{1,5})?` // and a path: for editors, ParseShare says more
)

var hostForm = regexp.MustCompile("^" + hostPattern + "$")

// Share is a folder that a server exports by NFS.
type Share struct {
	Server string // a name, or an address
	Port   uint16
	Path   string // absolute and clean
}

// IsNFS says whether a volume's source is one of a server's.
func IsNFS(source string) bool { return strings.HasPrefix(source, nfsScheme) }

// ParseShare reads a source by NFS.
func ParseShare(source string) (Share, error) {
	rest, is := strings.CutPrefix(source, nfsScheme)
	server, _, _ := strings.Cut(rest, "/")
	s := Share{Port: nfsPort, Path: rest[len(server):]}
	if !is || server == "" || s.Path == "" {
		return Share{}, fmt.Errorf("%q is not of the form %s", source, NFSAllowed)
	}
	if path.Clean(s.Path) != s.Path || strings.ContainsFunc(s.Path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Share{}, fmt.Errorf("%q is not a clean path", s.Path)
	}
	host := server
	if at := strings.LastIndexByte(server, ':'); at > strings.LastIndexByte(server, ']') {
		port := server[at+1:]
		host = server[:at]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Share{}, fmt.Errorf("%q is not a port", port)
		}
		s.Port = uint16(n)
	}
	var err error
	s.Server, err = shareServer(host)
	return s, err
}

func shareServer(host string) (string, error) {
	if inner, is := strings.CutPrefix(host, "["); is {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(inner, "]") {
			return "", fmt.Errorf("%q is not an IPv6 address in brackets", host)
		}
		return addr.String(), nil
	}
	if !hostForm.MatchString(host) {
		return "", fmt.Errorf("%q is neither a name nor an address of a server; an IPv6 address stands in brackets", host)
	}
	return strings.ToLower(host), nil
}

// Addr is where the server is asked, as net.Dial takes it.
func (s Share) Addr() string { return net.JoinHostPort(s.Server, strconv.Itoa(int(s.Port))) }

// String is the share as ParseShare reads it.
func (s Share) String() string {
	server := s.Server
	if strings.Contains(server, ":") {
		server = "[" + server + "]"
	}
	if s.Port != nfsPort {
		server = s.Addr()
	}
	return nfsScheme + server + s.Path
}

// ErrNoShare means that the node's configuration does not allow a share.
var ErrNoShare = errors.New("it is not below any of nfsRoots of the node's configuration")

// In finds the root that the share lies below: the longest of those, all by their
// names alone. inside is the path from there, "." for the root itself.
func (s Share) In(roots []string) (root Share, inside string, err error) {
	for _, text := range roots {
		r, err := ParseShare(text)
		if err != nil || r.Server != s.Server || r.Port != s.Port || len(r.Path) <= len(root.Path) {
			continue // the configuration was checked when it was read
		}
		rest, within := strings.CutPrefix(s.Path, strings.TrimSuffix(r.Path, "/"))
		if !within || rest != "" && rest[0] != '/' {
			continue
		}
		root, inside = r, "."
		if rest = strings.TrimPrefix(rest, "/"); rest != "" {
			inside = rest
		}
	}
	if root.Path == "" {
		return root, "", fmt.Errorf("%s: %w, [%s]; add it, or a folder above it, to nfsRoots", s, ErrNoShare, strings.Join(roots, ", "))
	}
	return root, inside, nil
}
