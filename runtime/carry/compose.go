package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"

	"github.com/fcnode/fcnode/runtime/spec"
)

// ComposeFile is a compose file, and what its meaning depends on.
type ComposeFile struct {
	Path   string // relative paths in it are relative to its folder, in which .env is read
	Text   []byte
	Getenv func(string) string // the environment, which comes before .env
	Ports  map[string][]spec.Port
}

// ErrNoService means that a file has no service of that name.
var ErrNoService = errors.New("no such service")

// Compose makes sites of the services of a compose file, or of one of them. An
// error is about the file as a whole.
func Compose(ctx context.Context, f ComposeFile, service string) (Result, error) {
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return Result{}, err
	}
	dir := filepath.Dir(path)
	dotEnv, err := readDotEnv(filepath.Join(dir, ".env"), f.Getenv)
	if err != nil {
		return Result{}, err
	}
	lookup := func(name string) (string, bool) {
		if value := f.Getenv(name); value != "" {
			return value, true
		}
		value, ok := dotEnv[name]
		return value, ok
	}
	details := types.ConfigDetails{
		WorkingDir: dir, Environment: dotEnv,
		ConfigFiles: []types.ConfigFile{{Filename: path, Content: f.Text}},
	}
	logrus.SetOutput(io.Discard) // what it warns of is told by notes
	options := func(o *loader.Options) {
		o.SkipNormalization, o.ResolvePaths, o.Profiles = true, true, []string{"*"}
		o.SkipConsistencyCheck = true // networks that are not declared, say, are none of ours
		o.SetProjectName(projectName(dir), false)
		o.Interpolate.LookupValue = lookup
	}
	model, err := loader.LoadModelWithContext(ctx, details, options)
	if err != nil {
		return Result{}, fmt.Errorf("read the compose file %s: %w", f.Path, err)
	}
	project, err := loader.LoadWithContext(ctx, details, options)
	if err != nil {
		return Result{}, fmt.Errorf("read the compose file %s: %w", f.Path, err)
	}
	c := composed{file: f, project: project, lines: linesOf(f.Text), lookup: lookup, shared: sharedVolumes(project)}
	return c.services(model, service)
}

// projectName is how compose calls a project that has no name.
func projectName(dir string) string {
	if name := loader.NormalizeProjectName(filepath.Base(dir)); name != "" {
		return name
	}
	return "project"
}

func readDotEnv(path string, getenv func(string) string) (types.Mapping, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return types.Mapping{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the variables of the compose file: %w", err)
	}
	defer f.Close()
	values, err := dotenv.ParseWithLookup(f, func(name string) (string, bool) {
		value := getenv(name)
		return value, value != ""
	})
	if err != nil {
		return nil, fmt.Errorf("read the variables of the compose file in %s: %w", path, err)
	}
	return values, nil
}

// composed is a file that was read.
type composed struct {
	file    ComposeFile
	project *types.Project
	lines   lines
	lookup  func(string) (string, bool)
	shared  map[string][]string // the services that have a named volume
}

func sharedVolumes(p *types.Project) map[string][]string {
	out := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		for _, v := range p.Services[name].Volumes {
			if v.Type == types.VolumeTypeVolume && v.Source != "" && !slices.Contains(out[v.Source], name) {
				out[v.Source] = append(out[v.Source], name)
			}
		}
	}
	return out
}

func (f *composed) services(model map[string]any, only string) (Result, error) {
	var r Result
	if _, there := f.project.Services[only]; only != "" && !there {
		return r, fmt.Errorf("%s: %w: %s (there are: %s)", f.file.Path, ErrNoService, only, strings.Join(slices.Sorted(maps.Keys(f.project.Services)), ", "))
	}
	all, _ := model["services"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(f.project.Services)) {
		if only != "" && name != only {
			continue
		}
		said, _ := all[name].(map[string]any)
		service := f.project.Services[name]
		f.carry(&service, said, &r)
	}
	f.unset(&r)
	r.sort()
	return r, nil
}

// variable is one that a compose file has filled in, without a default.
var variable = regexp.MustCompile(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)`)

// unset tells of variables that have no value: each is empty, as with compose.
func (f *composed) unset(r *Result) {
	told := map[string]bool{}
	for i, line := range strings.Split(string(f.file.Text), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, m := range variable.FindAllStringSubmatch(line, -1) {
			name := m[1] + m[2]
			if _, set := f.lookup(name); name == "" || set || told[name] {
				continue
			}
			told[name] = true
			r.Notes = append(r.Notes, Note{
				File: f.file.Path, Line: i + 1, Service: "all", Setting: "$" + name,
				Reason: "it is set neither in the environment nor in .env, and so is empty",
			})
		}
	}
}

// carry makes a site of one service.
func (f *composed) carry(s *types.ServiceConfig, said map[string]any, r *Result) {
	c := &carrying{
		site: spec.New(siteName(s.Name)), file: f.file.Path, service: s.Name,
		lineOf: func(setting string) int {
			return f.lines.of(strings.TrimSuffix("services."+s.Name+"."+setting, "."))
		},
	}
	if c.site.Name != s.Name {
		c.becomes("", "the site is called %s", c.site.Name)
	}
	f.untold(c, said)
	if s.Image == "" {
		c.lost("image", "it names no image; a site has one")
		r.Notes = append(r.Notes, c.notes...)
		return
	}
	f.program(c, s)
	f.environment(c, s)
	f.ports(c, s)
	f.volumes(c, s)
	f.configs(c, s)
	f.secrets(c, s)
	f.limits(c, s)
	f.isolation(c, s)
	f.names(c, s)
	f.life(c, s)
	f.deploy(c, s)
	c.into(r)
}

// untold tells of all settings that the service has and no spec.
func (f *composed) untold(c *carrying, said map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(said)) {
		if reason, known := reasons[key]; known {
			c.lost(key, "%s", reason)
		} else if reason, known := means[key]; known {
			c.becomes(key, "%s", reason)
		} else if !slices.Contains(handled, key) && !strings.HasPrefix(key, "x-") {
			c.lost(key, "fcnode knows nothing like it")
		}
	}
}

// handled are the settings that the functions below carry over.
var handled = []string{
	"cap_add", "cap_drop", "command", "configs", "cpus", "deploy", "dns", "dns_opt", "dns_search", "entrypoint", "env_file",
	"environment", "expose", "extends", "extra_hosts", "healthcheck", "hostname", "image", "init", "mem_limit", "mem_reservation",
	"pids_limit", "platform", "ports", "read_only", "scale", "secrets", "security_opt", "shm_size", "stop_grace_period",
	"stop_signal", "tmpfs", "user", "volumes", "working_dir", "name",
}

// siteName makes a DNS label of a name.
func siteName(name string) string {
	name = strings.Trim(regexp.MustCompile(`[^a-z0-9-]+`).ReplaceAllString(strings.ToLower(name), "-"), "-")
	if len(name) > 63 {
		name = strings.Trim(name[:63], "-")
	}
	return name
}
