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

// wire is Site without its methods.
type wire Site

// UnmarshalJSON implements json.Unmarshaler for the canonical JSON: fields of which an older version did not know get their defaults,
// fields of a newer one are refused. The values are not checked; see Validate.
func (s *Site) UnmarshalJSON(data []byte) error {
	w := wire(defaults())
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return fmt.Errorf("read the JSON of site %q: %w", w.Name, err)
	}
	*s = Site(w)
	s.complete()
	return nil
}

// FromJSON reads the canonical JSON of a site as UnmarshalJSON does. For JSON that somebody wrote by hand use Parse, JSON
// being YAML: it takes the short forms, checks, and has positions.
func FromJSON(data []byte) (Site, error) {
	var s Site
	if err := json.Unmarshal(data, &s); err != nil {
		return Site{}, err
	}
	return s, nil
}
