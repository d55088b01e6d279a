package front

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// clientAuth is a way in which visitors are asked for certificates.
type clientAuth struct {
	CA       string `json:"clientCA,omitempty"`
	Optional bool   `json:"optional,omitempty"`
}

// authorities are certificates by the files that sites name; each is a key, as its bytes.
type authorities map[string]map[string]bool

func authOf(s *routes.Site) clientAuth { return clientAuth{CA: s.ClientCA, Optional: s.ClientOptional} }

// readCA reads a file of authorities, of which one that is bad would keep all others from being configured.
func readCA(path string) (map[string]bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read gateway.clientCertificates.ca: %w", err)
	}
	certs := map[string]bool{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			certs[string(cert.Raw)] = true
		}
	}
	if len(certs) == 0 {
		return nil, errors.New("gateway.clientCertificates.ca: " + path + " has no certificate in PEM")
	}
	return certs, nil
}

// shownFor says whether the visitor has shown what the site asks for. A connection outlives what its site asked for when it was
// made, and may even resume one that was made for another site.
func (g *Gateway) shownFor(r *http.Request, site *routes.Site) bool {
	switch {
	case site.ClientCA == "":
		return true
	case r.TLS == nil || len(r.TLS.PeerCertificates) == 0:
		return site.ClientOptional
	}
	known := (*g.authorities.Load())[site.ClientCA]
	return slices.ContainsFunc(r.TLS.VerifiedChains, func(chain []*x509.Certificate) bool {
		return known[string(chain[len(chain)-1].Raw)]
	})
}
