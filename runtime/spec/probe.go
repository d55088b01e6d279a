package spec

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Probe asks a replica whether it can serve, from inside of its namespaces. It is one of http, tcp, unix, file and exec. A probe is
// no visitor: it neither wakes the site nor keeps it awake.
type Probe struct {
	// HTTP is the path, with its query if there is one, of a page that is asked for by GET, by the name of the site's first domain.
	HTTP string `json:"http,omitzero" also:"httpget,path,url,uri"`
	// Status is the status of the answer to http, 100 to 599. Default: any from 200 to 399.
	Status int `json:"status,omitzero" also:"code,expect"`
	// Port is the TCP port of http. Default: the port that front ends forward to (gateway.port), else the first TCP port.
	Port int `json:"port,omitzero"`
	// TCP is a port, of the site's or another, also one on 127.0.0.1, that accepts connections.
	TCP int `json:"tcp,omitzero" also:"tcpsocket,socket"`
	// Unix is the absolute path in the site of a unix socket that accepts connections.
	Unix string `json:"unix,omitzero" also:"unixsocket,sock"`
	// File is the absolute path in the site of a file that is there.
	File string `json:"file,omitzero" also:"exists"`
	// Exec is a command that ends with code 0. It runs in the site, as the user of the site.
	Exec []string `json:"exec,omitzero" also:"command,cmd,test"`
	// Timeout of one try, 10ms to 1m. Default: 5s.
	Timeout Duration `json:"timeout,omitzero" also:"timeoutseconds"`
}

// Health is a probe that is asked again and again.
type Health struct {
	Probe `yaml:",inline"`
	// Every is the time from one try to the next, 1s to 1h. Default: 10s.
	Every Duration `json:"every,omitzero" also:"interval,period,periodseconds"`
	// Failures is how many tries in a row must fail, 1 to 100. Default: 3.
	Failures int `json:"failures,omitzero" also:"retries,threshold,failurethreshold"`
	// Answer is how long visitors may wait while nobody gets an answer, until an event says so, 5s to 1h. It needs no probe. Default: 30s.
	Answer Duration `json:"answer,omitzero" also:"stall,hang,patience"`
}

// What is taken where the spec says nothing.
const (
	DefaultProbeTimeout   = Duration(5 * time.Second)
	DefaultHealthEvery    = Duration(10 * time.Second)
	DefaultHealthFailures = 3
	DefaultAnswer         = Duration(30 * time.Second)
)

const (
	minProbeTimeout = Duration(10 * time.Millisecond)
	maxProbeTimeout = Duration(time.Minute)
	minHealthEvery  = Duration(time.Second)
	maxHealthEvery  = Duration(time.Hour)
	minAnswer       = Duration(5 * time.Second)
	maxAnswer       = Duration(time.Hour)
	maxFailures     = 100
	maxHTTPPath     = 2048

	httpPathPattern = `^/[!-~]*$`
	probeAllowed    = "one of http, tcp, unix, file, exec"
)

var httpPathForm = regexp.MustCompile(httpPathPattern)

// Within bounds one try.
func (p Probe) Within() time.Duration {
	if p.Timeout == 0 {
		return time.Duration(DefaultProbeTimeout)
	}
	return time.Duration(p.Timeout)
}

// Asks says whether there is anything to ask.
func (p Probe) Asks() bool {
	return slices.ContainsFunc(p.ways(), func(w probeField) bool { return !w.empty })
}

// Accepts says whether an HTTP status is the one that is wanted.
func (p Probe) Accepts(status int) bool {
	if p.Status != 0 {
		return status == p.Status
	}
	return status >= http.StatusOK && status < http.StatusBadRequest
}

// Interval between two tries.
func (h Health) Interval() time.Duration {
	if h.Every == 0 {
		return time.Duration(DefaultHealthEvery)
	}
	return time.Duration(h.Every)
}

// Patience is how long nobody need get an answer.
func (h Health) Patience() time.Duration {
	if h.Answer == 0 {
		return time.Duration(DefaultAnswer)
	}
	return time.Duration(h.Answer)
}

// Limit is how many tries in a row must fail.
func (h Health) Limit() int {
	if h.Failures == 0 {
		return DefaultHealthFailures
	}
	return h.Failures
}

// ProbePort is the TCP port that a probe by HTTP asks.
func (s *Site) ProbePort(p Probe) int {
	if p.Port != 0 {
		return p.Port
	}
	if port := s.HTTPPort(); port != 0 {
		return port
	}
	for _, port := range s.Ports {
		if port.Proto == "tcp" && !port.IsRange() {
			return int(port.Port)
		}
	}
	return 0
}

type probeField struct {
	name  string
	empty bool
}

// ways are those in which a probe can ask.
func (p Probe) ways() []probeField {
	return []probeField{
		{"http", p.HTTP == ""}, {"tcp", p.TCP == 0}, {"unix", p.Unix == ""}, {"file", p.File == ""}, {"exec", len(p.Exec) == 0},
	}
}

func (p Probe) fields() []probeField {
	return append(p.ways(), probeField{"status", p.Status == 0}, probeField{"port", p.Port == 0}, probeField{"timeout", p.Timeout == 0})
}

type namedProbe struct {
	name  string
	Probe `yaml:",inline"`
}

func (s *Site) probes() []namedProbe {
	return []namedProbe{{"ready", s.Ready}, {"health", s.Health.Probe}}
}

// probes checks how replicas are asked whether they can serve.
func (c checker) probes(s *Site) {
	for _, p := range s.probes() {
		c.probe(s, p)
	}
	h := s.Health
	if h.Every != 0 && (h.Every < minHealthEvery || h.Every > maxHealthEvery) {
		c.bad("health.every", "1s to 1h", "%s is out of range", h.Every)
	}
	if h.Failures < 0 || h.Failures > maxFailures {
		c.bad("health.failures", "1 to 100", "%d is out of range", h.Failures)
	}
	if h.Answer != 0 && (h.Answer < minAnswer || h.Answer > maxAnswer) {
		c.bad("health.answer", "5s to 1h", "%s is out of range", h.Answer)
	}
	if !h.Asks() && (h.Every != 0 || h.Failures != 0) && !h.says() {
		c.bad("health", probeAllowed, "does not say what to ask")
	}
}

// says whether anything is said of the probe.
func (p Probe) says() bool {
	return p.Asks() || p.Status != 0 || p.Port != 0 || p.Timeout != 0 || p.Exec != nil
}

func (c checker) probe(s *Site, p namedProbe) {
	if !p.says() {
		return
	}
	var given []string
	for _, w := range p.ways() {
		if !w.empty {
			given = append(given, w.name)
		}
	}
	switch {
	case len(given) == 0:
		c.bad(p.name, probeAllowed, "does not say what to ask")
	case len(given) > 1:
		c.bad(p.name, probeAllowed, "has %s", strings.Join(given, " and "))
	}
	c.probeHTTP(s, p)
	if p.TCP < 0 || p.TCP > 65535 {
		c.bad(p.name+".tcp", "1 to 65535", "%d is not a port", p.TCP)
	}
	if p.Unix != "" {
		c.path(p.name+".unix", p.Unix)
	}
	if p.File != "" {
		c.path(p.name+".file", p.File)
	}
	for i, arg := range p.Exec {
		c.text(fmt.Sprintf("%s.exec[%d]", p.name, i), arg)
	}
	if len(p.Exec) > 0 && p.Exec[0] == "" {
		c.bad(p.name+".exec[0]", "the program to run", "is empty")
	}
	if p.Timeout != 0 && (p.Timeout < minProbeTimeout || p.Timeout > maxProbeTimeout) {
		c.bad(p.name+".timeout", "10ms to 1m", "%s is out of range", p.Timeout)
	}
}

func (c checker) probeHTTP(s *Site, p namedProbe) {
	if p.HTTP == "" {
		for _, f := range []struct {
			name  string
			value int
		}{{"status", p.Status}, {"port", p.Port}} {
			if f.value != 0 {
				c.bad(p.name+"."+f.name, "only beside "+p.name+".http", "has no effect")
			}
		}
		return
	}
	if len(p.HTTP) > maxHTTPPath || !httpPathForm.MatchString(p.HTTP) {
		c.bad(p.name+".http", "a path from /, in printable ASCII without spaces, like /health?full=1", "%q is not a path", p.HTTP)
	}
	if p.Status != 0 && (p.Status < 100 || p.Status > 599) {
		c.bad(p.name+".status", "100 to 599", "%d is no HTTP status", p.Status)
	}
	switch {
	case p.Port < 0 || p.Port > 65535:
		c.bad(p.name+".port", "1 to 65535", "%d is not a port", p.Port)
	case s.ProbePort(p.Probe) == 0:
		c.bad(p.name+".http", p.name+".port", "the site has no TCP port to ask")
	}
}
