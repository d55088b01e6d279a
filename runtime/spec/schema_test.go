package spec

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the JSON Schema instead of comparing it")

//go:generate go test -count=1 -run ^TestSchemaIsCurrent$ . -update

// schemaFile is the JSON Schema (draft 2020-12) of one site, for editors and for
// checks in other languages. It says what can be said of one field; what relates
// fields to one another, like min up to max, only Parse knows.
const schemaFile = "../../docs/site.schema.json"

func TestSchemaIsCurrent(t *testing.T) {
	want := buildSchema(t)
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(readSchema(t), want) {
		t.Errorf("%s is not what the types say; run go generate ./runtime/spec", schemaFile)
	}
}

func readSchema(t *testing.T) []byte {
	t.Helper()
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// ranges are the limits that are scaled in place, as the schema names them.
var ranges = map[reflect.Type]string{
	reflect.TypeFor[PidsLimits](): "PidsLimits",
	reflect.TypeFor[ByteRate]():   "ByteRate",
	reflect.TypeFor[OpsRate]():    "OpsRate",
}

// buildSchema makes the schema from the types, their comments, and the patterns that the checks use.
func buildSchema(t *testing.T) []byte {
	t.Helper()
	r := jsonschema.Reflector{
		Anonymous:                  true,
		ExpandedStruct:             true,
		RequiredFromJSONSchemaTags: true,
		Mapper:                     scalarSchema,
		Namer:                      func(t reflect.Type) string { return ranges[t] },
	}
	if err := r.AddGoComments("github.com/fcnode/fcnode/runtime/spec", "./"); err != nil {
		t.Fatal(err)
	}
	for name, comment := range r.CommentMap {
		r.CommentMap[name] = strings.Join(strings.Fields(comment), " ")
	}
	// The comments of a generic type stand below its name without its parameter.
	r.LookupComment = func(t reflect.Type, field string) string {
		switch name := ranges[t]; {
		case name == "":
			return ""
		case field == "":
			return r.CommentMap[t.PkgPath()+"."+name]
		}
		return r.CommentMap[t.PkgPath()+".Range."+field]
	}
	s := r.Reflect(&Site{})
	s.Title = "fcnode site"
	refine(t, s)
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// scalarSchema gives the schema of the types that read themselves from a scalar.
func scalarSchema(t reflect.Type) *jsonschema.Schema {
	text := func(pattern string, examples ...any) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: pattern, Examples: examples}
	}
	one, last := uint64(1), json.Number("65535")
	switch t {
	case reflect.TypeFor[Bytes]():
		return text(bytesPattern, "128MiB", "2GiB")
	case reflect.TypeFor[Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: durationPattern, MinLength: &one, Examples: []any{"30s", "1h30m"}}
	case reflect.TypeFor[CPU]():
		return &jsonschema.Schema{Type: "number", Minimum: "0.01", Maximum: "1024"}
	case reflect.TypeFor[Count]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text(countPattern, "500k", "1M"), {Type: "integer", Minimum: "1"}}}
	case reflect.TypeFor[User]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			text(userPattern, "www-data", "33:33"), {Type: "integer", Minimum: "0"},
		}}
	case reflect.TypeFor[FileMode]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text(fileModePattern, "0400", "0440"), {Type: "integer", Minimum: "1", Maximum: "777"}}}
	case reflect.TypeFor[Capability]():
		words := make([]string, len(knownCapabilities))
		for i, k := range knownCapabilities {
			words[i] = string(k)
		}
		return text("^(CAP_)?("+strings.Join(words, "|")+"|ALL)$", "NET_RAW")
	case reflect.TypeFor[Architecture]():
		names := architectureNames()
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text("^("+strings.Join(names, "|")+")$", "amd64", "386"), {Const: 386}}}
	case reflect.TypeFor[Port]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			text(portPattern, "80/tcp", "53/udp"), {Type: "integer", Minimum: "1", Maximum: last},
		}}
	case reflect.TypeFor[Peer]():
		return text(peerPattern, PeerInternet, "10.1.0.5:3306/tcp", "site:db")
	case reflect.TypeFor[Source]():
		return text(sourcePattern, "192.0.2.7", "198.51.100.0/24", "2001:db8::/64")
	case reflect.TypeFor[Idle]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Const: idleNever}, {Const: idleAuto}, {Type: "string", Pattern: durationPattern, MinLength: &one},
		}}
	case reflect.TypeFor[Swap]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Const: swapNone}, {Const: swapAll}, text(bytesPattern, "128MiB")}}
	case reflect.TypeFor[Pace]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Const: unlimited}, {Type: "integer", Minimum: "1", Maximum: "10000000"},
		}}
	case reflect.TypeFor[Keepalive]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Const: keepaliveOff}, {Type: "string", Pattern: durationPattern, MinLength: &one},
		}}
	case reflect.TypeFor[Percent]():
		return text(percentPattern, "1%", "0.5%")
	case reflect.TypeFor[PerSecond]():
		return text(ratePattern, "1MiB/s", noRate)
	case reflect.TypeFor[Tiers]():
		return tiersSchema()
	case reflect.TypeFor[netip.Addr]():
		return addrSchema()
	case reflect.TypeFor[HostAddrs]():
		return &jsonschema.Schema{AnyOf: append(addrSchema().AnyOf, &jsonschema.Schema{Type: "array", MinItems: &one, Items: addrSchema()})}
	}
	return nil
}

func addrSchema() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string", Format: "ipv4"}, {Type: "string", Format: "ipv6"}}}
}

// tiersSchema is auto, or a list whose entries are names or mappings.
func tiersSchema() *jsonschema.Schema {
	one, all := uint64(1), uint64(len(tierNames))
	tier := &jsonschema.Schema{Type: "string"}
	for _, name := range tierNames {
		tier.Enum = append(tier.Enum, name)
	}
	rung := &jsonschema.Schema{
		Type: "object", Properties: jsonschema.NewProperties(), Required: []string{"tier"}, AdditionalProperties: jsonschema.FalseSchema,
	}
	rung.Properties.Set("tier", tier)
	rung.Properties.Set("after", scalarSchema(reflect.TypeFor[Duration]()))
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Const: tiersAuto},
		{Type: "array", MinItems: &one, MaxItems: &all, Items: &jsonschema.Schema{AnyOf: []*jsonschema.Schema{tier, rung}}},
	}}
}

// refine adds what the types do not say: patterns, bounds and defaults.
func refine(t *testing.T, s *jsonschema.Schema) {
	t.Helper()
	get := func(path string) *jsonschema.Schema {
		in, name := s, path
		if def, field, ok := strings.Cut(path, "."); ok {
			in, name = s.Definitions[def], field
		}
		if p, ok := in.Properties.Get(name); ok {
			return p
		}
		t.Fatalf("the schema has no %s", path)
		return nil
	}
	count := func(n uint64) *uint64 { return &n }
	for path, pattern := range map[string]string{
		"name": labelPattern, "hostname": labelPattern, "image": imagePattern,
		"workdir": "^/$|" + pathPattern, "Volume.source": pathPattern + "|" + sharePattern + pathPattern[1:], "Volume.target": pathPattern,
		"Volume.name": labelPattern, "Secret.name": secretNamePattern, "Secret.source": pathPattern, "Secret.target": pathPattern, "Secret.env": envNamePattern,
	} {
		get(path).Pattern = pattern
	}
	needs := get("needs")
	needs.UniqueItems, needs.MaxItems, needs.Items.Pattern = true, count(maxNeeds), labelPattern
	domains := get("domains")
	domains.UniqueItems, domains.Items.Pattern, domains.Items.MaxLength = true, domainPattern, count(maxDomain)
	env := get("env")
	env.PropertyNames = &jsonschema.Schema{Pattern: envNamePattern}
	get("noNewPrivileges").Default = true
	for _, word := range []string{UsernsHost, UsernsPrivate} {
		get("userns").Enum = append(get("userns").Enum, word)
	}
	bounds := func(path string, low, high json.Number) {
		get(path).Minimum, get(path).Maximum = low, high
	}
	get("Capabilities.add").UniqueItems, get("Capabilities.drop").UniqueItems = true, true
	get("addresses").MaxItems = count(2)
	ports := get("ports")
	ports.UniqueItems, ports.MinItems, ports.MaxItems = true, count(1), count(maxPorts)
	get("Network.allow").MaxItems, get("Network.deny").MaxItems = count(maxPeers), count(maxPeers)
	get("Ignored.sources").MaxItems = count(maxSources)
	for _, word := range ignoredAnswers {
		get("Ignored.answer").Enum = append(get("Ignored.answer").Enum, word)
	}
	bounds("Ignored.status", "200", "599")
	get("volumes").MaxItems = count(maxVolumes)
	get("imageVolumes").Enum, get("imageVolumes").Default = []any{imageVolumesKeep, ImageVolumesIgnore}, imageVolumesKeep
	s.Definitions["Volume"].OneOf = []*jsonschema.Schema{{Required: []string{"source"}}, {Required: []string{"name"}}}
	get("idle").Default, get("class").Default, get("class").Pattern = idleAuto, "standard", labelPattern
	get("Limits.pids").Default, get("Scale.min").Default, get("Scale.max").Default = DefaultPids, 0, 1
	bounds("PidsLimits.min", "1", "4194304")
	bounds("PidsLimits.max", "1", "4194304")
	bounds("Scale.min", "0", "15")
	bounds("Scale.max", "1", "15")
	bounds("Target.conns", "1", "1000000")
	bounds("Spare.count", "0", "14")
	get("Spare.tier").Enum = []any{TierFrozen, TierPrepared}
	bounds("Checkpoint.warm", "0", "1000000")
	bounds("OpsRate.min", "1", "2147483647")
	bounds("OpsRate.max", "1", "2147483647")
	for _, def := range []string{"CPULimits", "MemoryLimits", "PidsLimits", "ByteRate", "OpsRate"} {
		bounds(def+".step", "1.1", "16")
	}
	get("IOLimit.device").Pattern = pathPattern
	get("Tmpfs.target").Pattern = pathPattern
	get("tmpfs").MaxItems = count(maxTmpfs)
	get("secrets").MaxItems = count(maxSecrets)
	get("shmSize").Default = (64 * MiB).String()
	get("tiers").Default, get("lifetime").Default = tiersAuto, lifetimeNever
	get("Lifetime.jitter").Default = defaultLifetime.Jitter.String()
	get("Circulate.overlap").Default, get("Circulate.drain").Default = true, defaultCirculate.Drain.String()
	get("Checkpoint.warm").Default = defaultCheckpoint.Warm
	get("Stop.grace").Default = DefaultGrace.String()
	for path, words := range map[string][]string{
		"Gateway.https": httpsModes, "Gateway.www": wwwModes, "Gateway.protocol": webProtocols, "Gateway.proxyProtocol": proxyVersions,
	} {
		for _, word := range words {
			get(path).Enum = append(get(path).Enum, word)
		}
	}
	bounds("Gateway.port", "1", "65535")
	get("ClientCertificates.ca").Pattern = pathPattern
	bounds("Ignore.status", "200", "599")
	for _, list := range []string{"Ignore.userAgents", "Ignore.paths"} {
		get(list).MaxItems = count(maxIgnores)
		get(list).Items.MinLength, get(list).Items.MaxLength = count(1), count(maxIgnoreText)
	}
	get("Ignore.paths").Items.Pattern = "^/[^*]*[*]?$"
	for _, probe := range []string{"Probe", "Health"} {
		bounds(probe+".status", "100", "599")
		bounds(probe+".port", "1", "65535")
		bounds(probe+".tcp", "1", "65535")
		get(probe + ".http").Pattern = httpPathPattern
		get(probe + ".unix").Pattern = pathPattern
		get(probe + ".file").Pattern = pathPattern
		get(probe + ".exec").MinItems = count(1)
		get(probe + ".timeout").Default = DefaultProbeTimeout.String()
	}
	get("schedule").MaxItems, get("Task.exec").MinItems = count(maxTasks), count(1)
	get("Task.at").Pattern = `^(@[a-z]+|(\S+ ){4}\S+)$`
	get("Task.timeout").Default = DefaultTaskTimeout.String()
	get("Busy.file").Pattern = pathPattern
	get("Busy.cpu").Default, get("Busy.io").Default, get("Busy.connections").Default = defaultBusy.CPU.String(), defaultBusy.IO.String(), true
	bounds("Health.failures", "1", "100")
	get("Health.failures").Default, get("Health.every").Default = DefaultHealthFailures, DefaultHealthEvery.String()
	get("Health.answer").Default = DefaultAnswer.String()
	get("DNS.servers").MaxItems, get("DNS.search").MaxItems, get("DNS.options").MaxItems = count(maxServers), count(maxSearch), count(maxOptions)
	get("DNS.search").Items.Pattern, get("DNS.options").Items.Pattern = hostNamePattern, optionPattern
	hosts := get("extraHosts")
	hosts.PropertyNames, hosts.MaxProperties = &jsonschema.Schema{Pattern: hostNamePattern}, count(maxExtraHosts)
	for _, name := range signals {
		get("Stop.signal").Enum = append(get("Stop.signal").Enum, name)
	}
	// Limits may be a plain number or size, which is the maximum; a lifetime a plain duration.
	plainPids := &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: "4194304"}
	for def, scalar := range map[string][]*jsonschema.Schema{
		"CPULimits":    {scalarSchema(reflect.TypeFor[CPU]())},
		"MemoryLimits": {scalarSchema(reflect.TypeFor[Bytes]())},
		"PidsLimits":   {plainPids},
		"DiskLimits":   {scalarSchema(reflect.TypeFor[Bytes]())},
		"ByteRate":     {scalarSchema(reflect.TypeFor[Bytes]())},
		"OpsRate":      {{Type: "integer", Minimum: "1", Maximum: "2147483647"}},
		"Busy":         {{Type: "boolean"}},
		"Task":         {{Type: "string", Pattern: `^\s*(@[a-z]+|(\S+\s+){4}\S+)\s+\S`}},
		"Spare":        {{Type: "integer", Minimum: "0", Maximum: "14"}, {Type: "string", Enum: []any{TierFrozen, TierPrepared}}},
		"Tmpfs":        {{Type: "string", Pattern: pathPattern}},
		"Secret":       {{Type: "string", Pattern: secretNamePattern}},
		"DNS":          {{Type: "array", MaxItems: count(maxServers), Items: addrSchema()}},
		"Ignored":      {{Type: "array", MaxItems: count(maxSources), Items: scalarSchema(reflect.TypeFor[Source]())}},
		"Lifetime":     {{Enum: []any{lifetimeNever, lifetimeAuto}}, scalarSchema(reflect.TypeFor[Duration]())},
	} {
		mapping := s.Definitions[def]
		s.Definitions[def] = &jsonschema.Schema{Description: mapping.Description, AnyOf: append(scalar, mapping)}
		mapping.Description = ""
	}
}

// validate checks the first document of a YAML text against the schema. What the schema refuses is a
// *validator.ValidationError; other errors say that there is no such value in JSON.
func validate(t *testing.T, src string) error {
	t.Helper()
	compiled, err := compiledSchema()
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := yaml.Unmarshal([]byte(src), &plain); err != nil {
		return err
	}
	asJSON, err := json.Marshal(plain)
	if err != nil {
		return err
	}
	value, err := validator.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatalf("%v in %s", err, asJSON)
	}
	return compiled.Validate(value)
}

var compiledSchema = sync.OnceValues(func() (*validator.Schema, error) {
	f, err := os.Open(schemaFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	doc, err := validator.UnmarshalJSON(f)
	if err != nil {
		return nil, err
	}
	c := validator.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("site.schema.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("site.schema.json")
})
