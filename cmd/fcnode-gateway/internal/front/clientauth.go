package front

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// clientAuth is a way in which visitors are asked for certificates.
type clientAuth struct {
	CA       string `json:"clientCA,omitempty"`
	Optional bool   `json:"optional,omitempty"`
}

func authOf(s *routes.Site) clientAuth { return clientAuth{CA: s.ClientCA, Optional: s.ClientOptional} }

// readCA says what is wrong with a file of authorities, which else would keep all others from being configured.
func readCA(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read gateway.clientCertificates.ca: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return errors.New("gateway.clientCertificates.ca: " + path + " has no certificate in PEM")
	}
	return nil
}
