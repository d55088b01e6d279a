package conf

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Load reads a configuration file. With an empty path it reads DefaultPath, and gives the defaults if there is no such file; a
// file that is named must exist.
func Load(path string) (Config, error) {
	named := path != ""
	if !named {
		path = DefaultPath
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, text)
}

// Parse reads a configuration; name is used in errors. Each error names its line and field; all come at once.
func Parse(name string, text []byte) (Config, error) {
	cfg := Default()
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return Config{}, decodeError(name, err)
	}
	body, err := only(file)
	if err != nil {
		return Config{}, decodeError(name, err)
	}
	if body == nil {
		return cfg, nil
	}
	if err := noNulls(name, body); err != nil { // which the decoder takes for zeros
		return Config{}, err
	}
	if err := yaml.NodeToValue(body, &cfg, yaml.Strict()); err != nil {
		return Config{}, decodeError(name, err)
	}
	c := checker{name: name, file: file}
	c.config(&cfg)
	return cfg, errors.Join(c.errs...)
}

// only gives the one document that a file may have, nil where it has but comments.
func only(file *ast.File) (body ast.Node, err error) {
	for _, doc := range file.Docs {
		switch doc.Body.(type) {
		case nil, *ast.CommentGroupNode, *ast.NullNode:
			continue
		}
		if body != nil {
			return nil, errors.New("has a second document; one is allowed")
		}
		body = doc.Body
	}
	return body, nil
}

// noNulls refuses fields without a value.
func noNulls(name string, body ast.Node) error {
	var errs []error
	for _, n := range ast.Filter(ast.NullType, body) {
		at := n.GetToken().Position
		errs = append(errs, fmt.Errorf("%s:%d:%d: %s: has no value (leave the field out for its default)", name, at.Line, at.Column,
			strings.TrimPrefix(n.GetPath(), "$.")))
	}
	return errors.Join(errs...)
}

// decodeError puts the place in front, as compilers do.
func decodeError(name string, err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		p := at.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", name, p.Line, p.Column, at.GetMessage())
	}
	return fmt.Errorf("%s: %w", name, err)
}

type checker struct {
	name string
	file *ast.File
	errs []error
}

func (c *checker) bad(field, allowed, msg string, args ...any) {
	line := ""
	if at := c.find(field); at != nil {
		line = fmt.Sprintf(":%d:%d", at.GetToken().Position.Line, at.GetToken().Position.Column)
	}
	c.errs = append(c.errs, fmt.Errorf("%s%s: %s: %s; allowed: %s", c.name, line, field, fmt.Sprintf(msg, args...), allowed))
}

func (c *checker) find(field string) ast.Node {
	path, err := yaml.PathString("$." + field)
	if err != nil {
		return nil
	}
	node, err := path.FilterFile(c.file)
	if err != nil || node == nil || node.GetToken() == nil {
		return nil
	}
	return node
}

func (c *checker) config(cfg *Config) {
	c.listen("http", cfg.HTTP)
	c.listen("https", cfg.HTTPS)
	if len(cfg.HTTP)+len(cfg.HTTPS) == 0 {
		c.bad("http", "at least one address in http or https", "listens nowhere")
	}
	c.path("routes", cfg.Routes)
	c.path("stateDir", cfg.StateDir)
	if cfg.Pages != "" {
		c.path("pages", cfg.Pages)
	}
	if modes := []string{"redirect", "both", "off"}; !slices.Contains(modes, cfg.DefaultHTTPS) {
		c.bad("defaultHTTPS", strings.Join(modes, ", "), "%q is none of them", cfg.DefaultHTTPS)
	}
	for i, p := range cfg.Certificates {
		c.path(fmt.Sprintf("certificates[%d].certificate", i), p.Certificate)
		c.path(fmt.Sprintf("certificates[%d].key", i), p.Key)
	}
	if a := cfg.ACME; a != nil {
		c.acme(a)
	}
	c.limits(&cfg.Limits)
	c.wake(&cfg.Wake)
}

func (c *checker) listen(field string, addrs []string) {
	for i, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		n, numErr := strconv.Atoi(port)
		if err != nil || numErr != nil || n < 1 || n > 65535 || host != "" && net.ParseIP(host) == nil {
			c.bad(fmt.Sprintf("%s[%d]", field, i), "an address and port, like :80, 192.0.2.1:80 or [::1]:80", "%q is no such thing", a)
		}
	}
}

func (c *checker) acme(a *ACME) {
	if a.Directory != "" {
		if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
			c.bad("acme.directory", "an https URL", "%q is none", a.Directory)
		}
	}
	if a.Email != "" && !strings.Contains(a.Email, "@") {
		c.bad("acme.email", "an e-mail address", "%q is none", a.Email)
	}
	if a.Roots != "" {
		c.path("acme.roots", a.Roots)
	}
	c.number("acme.httpPort", int64(a.HTTPPort), 0, 65535)
	c.number("acme.tlsPort", int64(a.TLSPort), 0, 65535)
}

func (c *checker) limits(l *Limits) {
	c.duration("limits.headerTimeout", l.HeaderTimeout, time.Second, 10*time.Minute)
	c.number("limits.headerBytes", int64(l.HeaderBytes), 4<<10, 1<<20)
	c.duration("limits.bodyTimeout", l.BodyTimeout, time.Second, time.Hour)
	c.number("limits.bodyRate", l.BodyRate, 0, 1<<30)
	c.duration("limits.idleTimeout", l.IdleTimeout, time.Second, time.Hour)
	c.number("limits.connections", int64(l.Connections), 0, 1<<20)
	c.rate("limits.rate", l.Rate, "requests")
	c.rate("limits.wakeRate", l.WakeRate, "wakes")
	c.number("limits.wakes", int64(l.Wakes), 1, 1<<20)
	c.number("limits.burst", int64(l.Burst), 1, 1<<20)
	c.number("limits.perSite", int64(l.PerSite), 0, 1<<20)
}

func (c *checker) wake(w *Wake) {
	c.duration("wake.page", w.Page, 0, time.Minute)
	c.duration("wake.timeout", w.Timeout, time.Second, time.Hour)
	c.duration("wake.reload", w.Reload, time.Second, time.Minute)
	c.duration("wake.keepAlive", w.KeepAlive, 100*time.Millisecond, time.Hour)
}

func (c *checker) rate(field string, r float64, of string) {
	if !(r >= 0 && r <= 1e6) {
		c.bad(field, "0 to 1000000 "+of+" per second", "%v is out of range", r)
	}
}

func (c *checker) number(field string, n, low, high int64) {
	if n < low || n > high {
		c.bad(field, fmt.Sprintf("%d to %d", low, high), "%d is out of range", n)
	}
}

func (c *checker) duration(field string, d, low, high time.Duration) {
	if d < low || d > high {
		c.bad(field, fmt.Sprintf("%s to %s", low, high), "%s is out of range", d)
	}
}

func (c *checker) path(field, path string) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		c.bad(field, "an absolute clean path", "%q is none", path)
	}
}
