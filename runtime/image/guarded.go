package image

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// maxRedirects bounds those of one request; as net/http's own client has it.
const maxRedirects = 10

// guarded keeps requests from where the configuration does not want them: HTTP is
// for registries on loopback and those that are listed, though the library tries it
// for private addresses, too.
type guarded struct {
	http.RoundTripper
	insecure []string
}

var errPlain = errors.New("it is asked by plain HTTP, by which credentials and images can be exchanged on the way: list it in registries.insecure if it has no HTTPS")

// RoundTrip implements [http.RoundTripper].
func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !slices.Contains(g.insecure, req.URL.Host) && !onLoopback(req.URL.Hostname()) {
		return nil, fmt.Errorf("%s: %w", req.URL.Host, errPlain)
	}
	n := 0
	for by := req.Response; by != nil && by.Request != nil; by = by.Request.Response {
		if n++; n > maxRedirects {
			return nil, fmt.Errorf("%s leads from one address to the next, more than %d times", req.URL.Host, maxRedirects)
		}
	}
	return g.RoundTripper.RoundTrip(req)
}

func onLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// transportOf is the library's, with an end to waiting for an answer.
var transportOf = sync.OnceValue(func() http.RoundTripper {
	t, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return remote.DefaultTransport
	}
	t = t.Clone()
	t.ResponseHeaderTimeout = time.Minute
	return t
})
