package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	mediatypes "github.com/google/go-containerregistry/pkg/v1/types"
)

// Registries says how registries are asked.
type Registries struct {
	// Auth is a file with credentials, in the form of docker's config.json and
	// podman's auth.json, credential helpers included. One that is not there has
	// none.
	Auth string
	// Mirrors are registries, as host or host:port, that are asked before the
	// one that an image names.
	Mirrors map[string][]string
	// Insecure are registries that are spoken to by plain HTTP. Those on loopback
	// always may be.
	Insecure []string
}

// FromRegistries says how registries are asked. Default: without credentials.
func FromRegistries(r Registries) Option {
	return func(s *Store) { s.registries = r }
}

// registrySource is an image in a registry, or in a mirror of it.
type registrySource struct {
	Registries
	ref Ref

	at     name.Repository // that has answered last
	listed v1.Hash         // what it has for the reference: the image, or an index
}

// places are the repositories to ask, mirrors first, and what is wanted of them.
func (s *registrySource) places() (want name.Reference, places []name.Repository, err error) {
	if want, err = s.parse(s.ref.Name); err != nil {
		return nil, nil, err
	}
	repo := want.Context()
	for _, mirror := range s.Mirrors[dockerHost(repo.RegistryStr())] {
		at, err := s.parse(mirror + "/" + repo.RepositoryStr())
		if err != nil {
			return nil, nil, fmt.Errorf("mirror %s of %s: %w", mirror, repo.RegistryStr(), err)
		}
		places = append(places, at.Context())
	}
	return want, append(places, repo), nil
}

// dockerHost gives Docker Hub the name that people know it by.
func dockerHost(registry string) string {
	if registry == name.DefaultRegistry {
		return "docker.io"
	}
	return registry
}

func (s *registrySource) parse(ref string) (name.Reference, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReference, err)
	}
	if slices.Contains(s.Insecure, parsed.Context().RegistryStr()) {
		return name.ParseReference(ref, name.Insecure)
	}
	return parsed, nil
}

func (s *registrySource) digest(ctx context.Context) (v1.Hash, error) {
	want, places, err := s.places()
	if err != nil {
		return v1.Hash{}, err
	}
	var errs []error
	for i, at := range places {
		there := name.Reference(at.Tag(want.Identifier()))
		if _, pinned := want.(name.Digest); pinned {
			there = at.Digest(want.Identifier())
		}
		asking, cancel := ctx, context.CancelFunc(func() {})
		if i < len(places)-1 {
			asking, cancel = context.WithTimeout(ctx, mirrorPatience)
		}
		s.at = at
		d, err := s.look(asking, there)
		cancel()
		if err == nil {
			return d, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", at.RegistryStr(), err))
	}
	return v1.Hash{}, errors.Join(errs...)
}

// mirrorPatience is how long one that does not answer keeps the next place from
// being asked.
const mirrorPatience = 5 * time.Second

// look asks what a reference means, on this machine.
func (s *registrySource) look(ctx context.Context, at name.Reference) (v1.Hash, error) {
	d, err := remote.Get(at, s.options(ctx)...)
	if err != nil {
		return v1.Hash{}, answered(err)
	}
	s.listed = d.Digest
	asked := 0
	one, err := pickPlatform([]v1.Descriptor{d.Descriptor}, func(h v1.Hash) ([]v1.Descriptor, error) {
		if asked++; asked > maxIndexes {
			return nil, fmt.Errorf("%w: it has more than %d indexes", ErrUnsupported, maxIndexes)
		}
		var raw []byte
		var err error
		if h == d.Digest { // asked for already
			raw, err = readDocument(bytes.NewReader(d.Manifest), h)
		} else {
			raw, err = s.document(ctx, h)
		}
		if err != nil {
			return nil, err
		}
		m, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("%w: index %s: %w", ErrCorrupt, h, err)
		}
		if len(m.Manifests) > maxManifests {
			return nil, fmt.Errorf("%w: index %s lists %d images", ErrUnsupported, h, len(m.Manifests))
		}
		return m.Manifests, nil
	})
	if err != nil {
		return v1.Hash{}, err
	}
	return one.Digest, nil
}

// The bounds of what a registry may have read before an image is chosen.
const (
	maxIndexes   = 8
	maxManifests = 1024 // in one index
)

// document reads a manifest or index, and verifies it: the library takes the
// registry's word for the digests of old kinds of manifests.
func (s *registrySource) document(ctx context.Context, h v1.Hash) ([]byte, error) {
	d, err := remote.Get(s.at.Digest(h.String()), s.options(ctx)...)
	if err != nil {
		return nil, answered(err)
	}
	return readDocument(bytes.NewReader(d.Manifest), h)
}

func (s *registrySource) contents(ctx context.Context, h v1.Hash) (*contents, error) {
	raw, err := s.document(ctx, h)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: manifest %s: %w", ErrCorrupt, h, err)
	}
	blob := func(d v1.Descriptor) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return s.blob(ctx, d.Digest) }
	}
	return readManifest(h, m, blob)
}

// blob opens a part of an image, where the image was found or, if it is not there, at
// the other places.
func (s *registrySource) blob(ctx context.Context, h v1.Hash) (io.ReadCloser, error) {
	_, places, err := s.places()
	if err != nil {
		return nil, err
	}
	places = slices.DeleteFunc(places, func(at name.Repository) bool { return at == s.at })
	var errs []error
	for _, at := range slices.Insert(places, 0, s.at) {
		layer, err := remote.Layer(at.Digest(h.String()), s.options(ctx)...)
		if err == nil {
			var r io.ReadCloser
			if r, err = layer.Compressed(); err == nil {
				return r, nil
			}
		}
		errs = append(errs, answered(err))
	}
	return nil, errors.Join(errs...)
}

// options of one request. Unpacking may outlive the call that began it, so ctx is
// that of the unpacking.
func (s *registrySource) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithUserAgent("fcnode"),
		remote.WithAuthFromKeychain(fileKeychain(s.Auth)),
		remote.WithTransport(&guarded{RoundTripper: &resuming{transportOf()}, insecure: s.Insecure}),
	}
}

// answered says what a registry's answer means.
func answered(err error) error {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return err
	}
	// Its own text may be of any length, and of somebody else to whom it has led.
	says := http.StatusText(answer.StatusCode)
	if len(answer.Errors) > 0 {
		says = fmt.Sprintf("%s, %.100q", says, answer.Errors[0].Code)
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%w: the registry has no such image or tag (%s)", ErrNotFound, says)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: the registry does not let this node read it (%s); credentials: `registries.auth` of the configuration, see docs/images.md", ErrDenied, says)
	}
	return fmt.Errorf("the registry answers %d (%s)", answer.StatusCode, says)
}

// fileKeychain takes credentials from one file, read anew each time.
type fileKeychain string

// Resolve implements [authn.Keychain].
func (path fileKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if path == "" {
		return authn.Anonymous, nil
	}
	f, err := os.Open(string(path))
	if errors.Is(err, os.ErrNotExist) {
		return authn.Anonymous, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the registries' credentials: %w", err)
	}
	defer f.Close()
	config, err := dockerconfig.LoadFromReader(f)
	if err != nil {
		return nil, fmt.Errorf("read the registries' credentials in %s: %w", path, err)
	}
	for _, key := range []string{target.String(), target.RegistryStr(), dockerHost(target.RegistryStr()), hubKey(target)} {
		c, err := config.GetAuthConfig(key)
		if err != nil {
			return nil, fmt.Errorf("credentials of %s in %s: %w", key, path, err)
		}
		c.ServerAddress = ""
		if c != (types.AuthConfig{}) {
			return authn.FromConfig(authn.AuthConfig{
				Username: c.Username, Password: c.Password, Auth: c.Auth, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
			}), nil
		}
	}
	return authn.Anonymous, nil
}

// hubKey is what docker login writes for Docker Hub.
func hubKey(target authn.Resource) string {
	if target.RegistryStr() == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return target.RegistryStr()
}

// readManifest gives what a manifest lists; blob opens a part of it.
func readManifest(h v1.Hash, m *v1.Manifest, blob func(v1.Descriptor) func() (io.ReadCloser, error)) (*contents, error) {
	if mt := m.Config.MediaType; mt != mediatypes.OCIConfigJSON && mt != mediatypes.DockerConfigJSON {
		return nil, fmt.Errorf("%w: %s is an artifact of type %q, not a container image", ErrUnsupported, h, mt)
	}
	r, err := blob(m.Config)()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := readDocument(r, m.Config.Digest)
	if err != nil {
		return nil, err
	}
	config, diffIDs, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	if len(diffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("%w: manifest %s has %d layers, its config %d", ErrCorrupt, h, len(m.Layers), len(diffIDs))
	}
	c := &contents{config: config}
	for i, d := range m.Layers {
		if !d.MediaType.IsLayer() {
			return nil, fmt.Errorf("%w: layer %s has media type %q; known are tar, tar+gzip and tar+zstd", ErrUnsupported, d.Digest, d.MediaType)
		}
		c.layers = append(c.layers, layerBlob{diffID: diffIDs[i], size: max(d.Size, 0), blob: d.Digest, open: blob(d)})
	}
	return c, nil
}
