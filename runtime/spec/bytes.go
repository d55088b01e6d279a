package spec

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Bytes is a size in bytes. It is written with a unit, as in 128MiB.
type Bytes int64

// The binary units.
const (
	KiB Bytes = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

const (
	bytesAllowed = "a size like 128MiB or 2GiB (KiB, MiB, GiB, TiB of 1024; kB, MB, GB, TB of 1000; B)"
	// bytesPattern is used by the JSON Schema as well.
	bytesPattern = `^[0-9]{1,18}(\.[0-9]{1,9})?(B|[kMGT]B?|[KMGT]iB?)$`
)

var (
	leadingNumber = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?`)
	bytesForm     = regexp.MustCompile(bytesPattern)
	byteUnits     = map[string]int64{
		"B": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
	}
)

// ParseBytes reads a size above 0, which is how a size that is left out is kept. Errors are of type *strictyaml.Invalid.
func ParseBytes(text string) (Bytes, error) {
	if !bytesForm.MatchString(text) {
		return 0, strictyaml.Bad(bytesAllowed, "%q is not a size%s", text, guessSize(text))
	}
	digits := strings.TrimRight(text, "BkKMGTi")
	unit := text[len(digits):]
	if len(unit) > 1 {
		unit = strings.TrimSuffix(unit, "B")
	}
	if whole, err := strconv.ParseInt(digits, 10, 64); err == nil && whole > 0 && whole <= math.MaxInt64/byteUnits[unit] {
		return Bytes(whole * byteUnits[unit]), nil // nearly always, and the node reads many
	}
	n, ok := new(big.Rat).SetString(digits)
	if !ok {
		return 0, strictyaml.Bad(bytesAllowed, "%q is not a size", text)
	}
	n.Mul(n, new(big.Rat).SetInt64(byteUnits[unit]))
	switch {
	case n.Sign() == 0:
		return 0, strictyaml.Bad(bytesAllowed, "%q is not a size that anything can have", text)
	case !n.IsInt():
		return 0, strictyaml.Bad(bytesAllowed, "%q is not a whole number of bytes", text)
	case !n.Num().IsInt64():
		return 0, strictyaml.Bad("up to 8388607TiB", "%q is too large", text)
	}
	return Bytes(n.Num().Int64()), nil
}

// guessSize proposes what was probably meant by a size with a wrong unit.
func guessSize(text string) string {
	number := leadingNumber.FindString(text)
	if number == "" {
		return ""
	}
	unit := strings.TrimSpace(text[len(number):])
	if unit == "" {
		return ": it has no unit"
	}
	letter := strings.ToUpper(unit[:1])
	if !strings.Contains("KMGT", letter) {
		return ""
	}
	return fmt.Sprintf("; did you mean %s%siB?", number, letter)
}

// String gives the size in the largest binary unit that needs no fraction.
func (b Bytes) String() string {
	for i, unit := range []Bytes{TiB, GiB, MiB, KiB} {
		if b != 0 && b%unit == 0 {
			return strconv.FormatInt(int64(b/unit), 10) + [...]string{"TiB", "GiB", "MiB", "KiB"}[i]
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBytes(string(text))
	return err
}
