package front

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

func init() { caddy.RegisterModule(new(issuer)) }

// issuer is Caddy's for ACME, but lets a name rest after a failure. A site's owner chooses its domains, and visitors when
// certificates are asked for: without a rest they could use up what the authority allows for all sites.
type issuer struct {
	caddytls.ACMEIssuer
}

// CaddyModule implements caddy.Module.
func (*issuer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.issuance.fcnode", New: func() caddy.Module { return new(issuer) }}
}

// PreCheck implements certmagic.PreChecker.
func (i *issuer) PreCheck(ctx context.Context, names []string, interactive bool) error {
	for _, name := range names {
		if left := current.Load().rests.left(name); left > 0 {
			err := fmt.Errorf("no certificate for %s was to be had; the next try is in %s, or after a reload of the gateway", name, left.Round(time.Second))
			return certmagic.ErrNoRetry{Err: err}
		}
	}
	defer current.Load().account.alone()()
	return i.ACMEIssuer.PreCheck(ctx, names, interactive)
}

// Issue implements certmagic.Issuer.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	cert, err := i.issue(ctx, csr)
	if ctx.Err() != nil { // it was stopped, and has not failed
		return cert, err
	}
	rests := &current.Load().rests
	for _, name := range csr.DNSNames {
		rests.note(name, err == nil)
	}
	if err != nil { // the visitor shall not wait for the next try
		return nil, certmagic.ErrNoRetry{Err: err}
	}
	return cert, nil
}

func (i *issuer) issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	defer current.Load().account.alone()()
	return i.ACMEIssuer.Issue(ctx, csr)
}

// account lets one at a time ask for certificates until there is an account with the authority: certmagic takes an account that
// another is just making for a broken one.
type account struct {
	storage string
	mu      sync.Mutex
	made    atomic.Bool
}

// alone waits for its turn, where turns are needed, and returns what ends it.
func (a *account) alone() (end func()) {
	if a.made.Load() {
		return func() {}
	}
	a.mu.Lock()
	return func() {
		files, _ := filepath.Glob(filepath.Join(a.storage, "acme", "*", "users", "*", "*.json")) // the pattern is good
		a.made.Store(len(files) > 0)
		a.mu.Unlock()
	}
}

const (
	restMin = time.Minute
	restMax = time.Hour
)

// rests says which names wait for how long after a failure: twice as long each time. There are no more of them than domains.
type rests struct {
	mu    sync.Mutex
	names map[string]rest
}

type rest struct {
	until time.Time
	last  time.Duration
}

func (r *rests) left(name string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.names[name].until)
}

func (r *rests) note(name string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ok {
		delete(r.names, name)
		return
	}
	if r.names == nil {
		r.names = map[string]rest{}
	}
	last := min(max(restMin, 2*r.names[name].last), restMax)
	r.names[name] = rest{until: time.Now().Add(last), last: last}
}

func (r *rests) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.names)
}

// storage is where issued certificates are kept.
func (g *Gateway) storage() string { return g.account.storage }

// dropLocks removes the locks of an earlier gateway that was killed while certificates were being issued. The state folder
// belongs to one gateway at a time; who found these locks would wait for them to age, and for ever for one that is torn.
func (g *Gateway) dropLocks() {
	if err := os.RemoveAll(filepath.Join(g.storage(), "locks")); err != nil {
		g.log.Warn("locks of an earlier gateway stay: certificates may be late", "error", err)
	}
}
