package spec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Digest identifies what the site is made of: "sha256:" and the hexadecimal hash of the canonical JSON, in which defaults are filled
// in and the variables of env are sorted. Two files that mean the same site have the same digest.
func (s *Site) Digest() string {
	data, err := json.Marshal(s)
	if err != nil {
		// Strings, numbers, lists and maps of them: the one value JSON cannot hold is a CPU of NaN or infinity, which no
		// reader lets in.
		panic(fmt.Sprintf("marshal site %s: %v", s.Name, err))
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// FromJSON reads the canonical JSON of a site, as it was stored by this version or an older one: fields of which an older one
// did not know get their defaults. The site is not checked again. For JSON that somebody else wrote use Parse, JSON being
// YAML; it is strict and has positions.
func FromJSON(data []byte) (Site, error) {
	s := defaults()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Site{}, fmt.Errorf("read the JSON of site %q: %w", s.Name, err)
	}
	s.complete()
	return s, nil
}
