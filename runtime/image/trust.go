package image

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Images are signed as cosign does it: beside an image its registry has, under a tag made of the image's digest,
// what was signed and by which signature (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md); or,
// as cosign does it since its version 3, artifacts that refer to the image, each with a bundle, of which the DSSE
// envelope has a statement of in-toto about the image's digest (specs/BUNDLE_SPEC.md there). Only signatures by keys
// count: neither certificates nor logs of them are looked at.

// Rule says who has to have signed images.
type Rule struct {
	// Images are names without tag and digest (registry.example/shop/web), or what they begin with and "*". Those that
	// are in no registry have the names by which a spec calls them (dir:/srv/*).
	Images []string
	Keys   []crypto.PublicKey // any of which has signed the image; none: nobody needs to
}

// Trust has images that a rule is about signed by one of its keys; the first rule that is about an image counts.
// Default: no rules.
func Trust(rules ...Rule) Option {
	return func(s *Store) { s.trust = rules }
}

// ReadKey reads a public key as cosign.pub is one: PEM, of ECDSA, RSA or Ed25519.
func ReadKey(path string) (crypto.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a key that signs images: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("read a key that signs images: %s is not PEM", path)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read a key that signs images: %s has no public key, but a %s: %w", path, block.Type, err)
	}
	switch key.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey:
		return key, nil
	}
	return nil, fmt.Errorf("read a key that signs images: %s has a %T; known are ECDSA, RSA and Ed25519", path, key)
}

// about says whether the rule is about the image of that name.
func (r Rule) about(image string) bool {
	return slices.ContainsFunc(r.Images, func(pattern string) bool {
		begin, open := strings.CutSuffix(pattern, "*")
		return image == pattern || open && strings.HasPrefix(image, begin)
	})
}

// trusted says why the image that a reference means must not be used, or nil. src is nil for a folder.
func (s *Store) trusted(ctx context.Context, ref Ref, src source, digest v1.Hash) error {
	called := ref.String()
	registry, is := src.(*registrySource)
	if is {
		want, _, err := registry.places()
		if err != nil {
			return err
		}
		called = repositoryOf(want.Context())
	}
	i := slices.IndexFunc(s.trust, func(r Rule) bool { return r.about(called) })
	if i < 0 || len(s.trust[i].Keys) == 0 {
		return nil
	}
	if !is {
		return fmt.Errorf("%w: trust[%d] of the configuration wants it signed, and only images in registries can be", ErrUntrusted, i)
	}
	digests := slices.Compact([]v1.Hash{cmp.Or(registry.listed, digest), digest})
	if err := registry.signed(ctx, called, digests, s.trust[i].Keys); err != nil {
		return fmt.Errorf("%w: trust[%d] of the configuration wants %s signed by one of %d keys: %w", ErrUntrusted, i, digests[0], len(s.trust[i].Keys), err)
	}
	return nil
}

// repositoryOf is the name of a repository as people write it.
func repositoryOf(r name.Repository) string {
	return dockerHost(r.RegistryStr()) + "/" + r.RepositoryStr()
}

// The bounds of what a registry may have read in the search of a signature.
const (
	maxSignatures = 64
	maxSigned     = 1 << 20 // bytes of what was signed, or of a bundle
)

// signed looks for a signature of one of the digests, which is one image's or that of the index that lists it.
func (s *registrySource) signed(ctx context.Context, image string, digests []v1.Hash, keys []crypto.PublicKey) error {
	_, places, err := s.places()
	if err != nil {
		return err
	}
	var errs []error
	places = slices.DeleteFunc(places, func(at name.Repository) bool { return at == s.at })
	for _, at := range slices.Insert(places, 0, s.at) {
		here := len(errs)
		for _, d := range digests {
			for _, look := range []func(context.Context, name.Repository, string, v1.Hash, []crypto.PublicKey) error{s.tagged, s.referring} {
				if err = look(ctx, at, image, d, keys); err == nil {
					return nil
				}
				if !errors.Is(err, ErrNotFound) {
					errs = append(errs, fmt.Errorf("%s: %w", at.RegistryStr(), err))
				}
			}
		}
		if len(errs) == here {
			errs = append(errs, fmt.Errorf("%s: it has no signature", at.RegistryStr()))
		}
	}
	// A registry that is away says so of each thing that it is asked for.
	return errors.Join(slices.CompactFunc(errs, func(a, b error) bool { return a.Error() == b.Error() })...)
}

const (
	simpleSigning   = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureOf     = "dev.cosignproject.cosign/signature"
	sigstoreBundle  = "application/vnd.dev.sigstore.bundle.v0.3+json"
	statementInToto = "application/vnd.in-toto+json"
	signsImage      = "https://sigstore.dev/cosign/sign/v1"
)

// tagged looks at the signatures under the tag that is made of an image's digest.
func (s *registrySource) tagged(ctx context.Context, at name.Repository, image string, of v1.Hash, keys []crypto.PublicKey) error {
	d, err := remote.Get(at.Tag(of.Algorithm+"-"+of.Hex+".sig"), s.options(ctx)...)
	if err != nil {
		return answered(err)
	}
	return s.parts(ctx, at, d.Manifest, simpleSigning, func(layer v1.Descriptor, payload []byte) error {
		signature, err := base64.StdEncoding.DecodeString(layer.Annotations[signatureOf])
		if err != nil {
			return fmt.Errorf("a signature of it: %w", err)
		}
		if err := verify(keys, payload, signature); err != nil {
			return err
		}
		var says struct {
			Critical struct {
				Identity struct {
					Reference string `json:"docker-reference"`
				} `json:"identity"`
				Image struct {
					Digest string `json:"docker-manifest-digest"`
				} `json:"image"`
				Type string `json:"type"`
			} `json:"critical"`
		}
		if err := json.Unmarshal(payload, &says); err != nil {
			return fmt.Errorf("what was signed: %w", err)
		}
		c := says.Critical
		if c.Type != "cosign container image signature" || c.Image.Digest != of.String() {
			return fmt.Errorf("what was signed is a %q of %q", c.Type, c.Image.Digest)
		}
		return names(c.Identity.Reference, image)
	})
}

// names says whether a signature that was made for a name is one for an image: otherwise any image that the same
// people have signed could be given out for it.
func names(reference, image string) error {
	if reference == "" {
		return nil
	}
	as, err := name.ParseReference(reference)
	if err != nil {
		return fmt.Errorf("what was signed is called %q: %w", reference, err)
	}
	if is := repositoryOf(as.Context()); is != image {
		return fmt.Errorf("what was signed is called %s; sign the copy", is)
	}
	return nil
}

// referring looks at the bundles that refer to an image.
func (s *registrySource) referring(ctx context.Context, at name.Repository, _ string, of v1.Hash, keys []crypto.PublicKey) error {
	index, err := remote.Referrers(at.Digest(of.String()), s.options(ctx)...)
	if err != nil {
		return answered(err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return answered(err)
	}
	var errs []error
	asked := 0
	for _, m := range list.Manifests {
		if !slices.Contains(bundleTypes, m.ArtifactType) {
			continue
		}
		if asked++; asked > maxSignatures {
			break
		}
		d, err := remote.Get(at.Digest(m.Digest.String()), s.options(ctx)...)
		if err == nil {
			err = s.parts(ctx, at, d.Manifest, sigstoreBundle, func(_ v1.Descriptor, bundle []byte) error { return verifyBundle(keys, bundle, of) })
		}
		if err == nil {
			return nil
		}
		if err = answered(err); !errors.Is(err, ErrNotFound) { // it is something else, or has gone
			errs = append(errs, err)
		}
	}
	return cmp.Or(errors.Join(errs...), ErrNotFound)
}

// bundleTypes are the types under which registries list bundles: some, and cosign
// itself in the place of those that list nothing, know that of the config only.
var bundleTypes = []string{sigstoreBundle, "application/vnd.oci.empty.v1+json", ""}

// verifyBundle says why a bundle is no signature of an image by one of the keys, or nil.
func verifyBundle(keys []crypto.PublicKey, bundle []byte, of v1.Hash) error {
	var b struct {
		Envelope struct {
			Payload    []byte `json:"payload"`
			Type       string `json:"payloadType"`
			Signatures []struct {
				Signature []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return fmt.Errorf("a bundle: %w", err)
	}
	e := b.Envelope
	// DSSE's "pre-authentication encoding" (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md)
	signed := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.Type), e.Type, len(e.Payload), e.Payload)
	err := errors.New("a bundle has no signature")
	for _, s := range e.Signatures {
		if err = verify(keys, signed, s.Signature); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	var says struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		Predicate string `json:"predicateType"`
	}
	if err := json.Unmarshal(e.Payload, &says); err != nil {
		return fmt.Errorf("what was signed: %w", err)
	}
	if e.Type != statementInToto || says.Predicate != signsImage {
		return fmt.Errorf("what was signed is a %s (%s), not that it is the image", says.Predicate, e.Type)
	}
	for _, s := range says.Subject {
		if s.Digest[of.Algorithm] == of.Hex {
			return nil
		}
	}
	return errors.New("what was signed is another image")
}

// parts calls f with each part of that type of a manifest, until one is accepted.
func (s *registrySource) parts(ctx context.Context, at name.Repository, manifest []byte, mediaType string, f func(v1.Descriptor, []byte) error) error {
	m, err := v1.ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return fmt.Errorf("its signatures: %w", err)
	}
	var errs []error
	for i, d := range m.Layers {
		if string(d.MediaType) != mediaType || i >= maxSignatures {
			continue
		}
		content, err := s.small(ctx, at, d.Digest)
		if err == nil {
			err = f(d, content)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return cmp.Or(errors.Join(errs...), fmt.Errorf("%w: there is no part of type %s", ErrNotFound, mediaType))
}

// small reads a small part.
func (s *registrySource) small(ctx context.Context, at name.Repository, h v1.Hash) ([]byte, error) {
	layer, err := remote.Layer(at.Digest(h.String()), s.options(ctx)...)
	if err != nil {
		return nil, answered(err)
	}
	r, err := layer.Compressed()
	if err != nil {
		return nil, answered(err)
	}
	defer r.Close()
	content, err := io.ReadAll(io.LimitReader(r, maxSigned+1))
	if err == nil && len(content) > maxSigned {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("read a signature, %s: %w", h, err)
	}
	return content, nil
}

// verify says whether one of the keys has signed a message.
func verify(keys []crypto.PublicKey, message, signature []byte) error {
	sum256, sum384, sum512 := sha256.Sum256(message), sha512.Sum384(message), sha512.Sum512(message)
	for _, key := range keys {
		var ok bool
		switch k := key.(type) {
		case *ecdsa.PublicKey:
			ok = ecdsa.VerifyASN1(k, sum256[:], signature) || k.Curve.Params().BitSize > 256 && ecdsa.VerifyASN1(k, sum384[:], signature)
		case *rsa.PublicKey:
			ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, sum256[:], signature) == nil
		case ed25519.PublicKey:
			// Cosign signs payloads by Ed25519ph, and envelopes of bundles by plain Ed25519.
			ok = ed25519.Verify(k, message, signature) || ed25519.VerifyWithOptions(k, sum512[:], signature, &ed25519.Options{Hash: crypto.SHA512}) == nil
		}
		if ok {
			return nil
		}
	}
	return errors.New("a signature is by none of the keys")
}
