package spec

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

func TestBytes(t *testing.T) {
	for _, test := range []struct {
		text string
		want Bytes
		back string
	}{
		{"1B", 1, "1B"},
		{"1023B", 1023, "1023B"},
		{"1KiB", KiB, "1KiB"},
		{"1Ki", KiB, "1KiB"},
		{"1.5KiB", 1536, "1536B"},
		{"1536KiB", 1536 * KiB, "1536KiB"},
		{"1.5GiB", 1536 * MiB, "1536MiB"},
		{"2Gi", 2 * GiB, "2GiB"},
		{"3TiB", 3 * TiB, "3TiB"},
		{"1kB", 1000, "1000B"},
		{"1k", 1000, "1000B"},
		{"1M", 1e6, "1000000B"},
		{"1.024MB", 1024000, "1000KiB"},
		{"1G", 1e9, "1000000000B"},
		{"1TB", 1e12, "976562500KiB"},
		{"0.1TB", 1e11, "97656250KiB"}, // exact, which a float would not be
		{"8388607TiB", 8388607 * TiB, "8388607TiB"},
	} {
		got, err := ParseBytes(test.text)
		if err != nil || got != test.want || got.String() != test.back {
			t.Errorf("ParseBytes(%q) = %d (%s), %v, want %d (%s)", test.text, got, got, err, test.want, test.back)
		}
		if again, err := ParseBytes(got.String()); err != nil || again != got {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", got, again, err, got)
		}
	}
	for _, text := range []string{
		"", "B", "1", "0B", "0.0MiB", "-1B", "+1B", "1 B", " 1B", "1B ", "1KB", "1K", "1mib", "1MIB", "1m", "1e3B", ".5MiB", "1.MiB", "1_000B",
		"0.3B", "8388608TiB", "999999999999999999TiB", "1EiB", "0x1B", "1MiBB", "1iB", "١MiB",
	} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		} else {
			isInvalid(t, err)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, test := range []struct {
		text string
		want time.Duration
		back string
	}{
		{"0s", 0, "0s"},
		{"0h0m", 0, "0s"},
		{"1ms", time.Millisecond, "1ms"},
		{"1500ms", 1500 * time.Millisecond, "1s500ms"},
		{"90s", 90 * time.Second, "1m30s"},
		{"5m", 5 * time.Minute, "5m"},
		{"60m", time.Hour, "1h"},
		{"1h30m", 90 * time.Minute, "1h30m"},
		{"1h5ms", time.Hour + 5*time.Millisecond, "1h5ms"},
		{"10h10m10s10ms", 10*time.Hour + 10*time.Minute + 10*time.Second + 10*time.Millisecond, "10h10m10s10ms"},
		{"100h", 100 * time.Hour, "100h"},
	} {
		got, err := ParseDuration(test.text)
		if err != nil || time.Duration(got) != test.want || got.String() != test.back {
			t.Errorf("ParseDuration(%q) = %s, %v, want %s", test.text, got, err, test.back)
		}
		if again, err := ParseDuration(got.String()); err != nil || again != got {
			t.Errorf("ParseDuration(%q) = %s, %v, want %s", got, again, err, got)
		}
	}
	for _, text := range []string{
		"", "5", "m", "-5m", "5 m", "5min", "1d", "1.5h", "5us", "5µs", "1s1m", "1m1m", "999999999h", "9999999999s", "never", "5M",
	} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %s, want an error", text, got)
		} else {
			isInvalid(t, err)
		}
	}
	if got := Duration(math.MaxInt64).String(); got != "2562047h47m16s854ms" {
		t.Errorf("the longest duration = %s", got)
	}
	if got := Duration(-time.Hour).String(); got != "0s" {
		t.Errorf("a negative duration = %s", got)
	}
}

func TestPort(t *testing.T) {
	for text, want := range map[string]Port{
		"80": {Port: 80, Proto: "tcp"}, "80/tcp": {Port: 80, Proto: "tcp"}, "53/udp": {Port: 53, Proto: "udp"}, "1": {Port: 1, Proto: "tcp"}, "65535/udp": {Port: 65535, Proto: "udp"},
		"1-65535/udp": {Port: 1, Last: 65535, Proto: "udp"}, "5000-5001": {Port: 5000, Last: 5001, Proto: "tcp"},
	} {
		if again, err := ParsePort(want.String()); err != nil || again != want {
			t.Errorf("%v is written %q, and read as %v, %v", want, want.String(), again, err)
		}
		if got, err := ParsePort(text); err != nil || got != want {
			t.Errorf("ParsePort(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for n := range 70000 { // the pattern of port numbers is easily wrong by one
		_, err := ParsePort(Port{Port: uint16(n), Proto: "tcp"}.String())
		if n < 65536 && (err == nil) != (n > 0) {
			t.Fatalf("ParsePort of %d: %v", n, err)
		}
	}
	for _, text := range []string{"", "0", "65536", "99999", "100000", "080", "80/", "/tcp", "80/TCP", "80/sctp", "80:80", "-1", "+80", "80 ", "http", "80-90-100", "80--90", "0-80", "80-070", "80/tcp-90/tcp"} {
		if got, err := ParsePort(text); err == nil {
			t.Errorf("ParsePort(%q) = %v, want an error", text, got)
		} else {
			isInvalid(t, err)
		}
	}
}

func TestIdle(t *testing.T) {
	for text, want := range map[string]Idle{
		"never": {Never: true}, "auto": {Auto: true}, "5m": {After: Duration(5 * time.Minute)}, "1s": {After: Duration(time.Second)},
	} {
		got, err := ParseIdle(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseIdle(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "Never", "0s", "999ms", "Auto", "5"} {
		if got, err := ParseIdle(text); err == nil {
			t.Errorf("ParseIdle(%q) = %v, want an error", text, got)
		} else {
			isInvalid(t, err)
		}
	}
}

func TestWeight(t *testing.T) {
	for min, want := range map[CPU]uint64{0: 0, 0.01: 1, 0.25: 25, 1: 100, 4: 400, 100: 10000, 1024: 10000} {
		if got := (CPULimits{Min: min}).Weight(); got != want {
			t.Errorf("the weight of %v cores = %d, want %d", min, got, want)
		}
	}
}

func isInvalid(t *testing.T, err error) {
	t.Helper()
	var bad *strictyaml.Invalid
	if !errors.As(err, &bad) || bad.Msg == "" || bad.Allowed == "" {
		t.Errorf("%v does not say what is wrong and what is allowed", err)
	}
}

// TestMemoryHard: memory.max follows only where it is told to, never beyond max, and is max where memory.high is at its highest.
func TestMemoryHard(t *testing.T) {
	follow := MemoryLimits{Min: 32 * MiB, High: 800 * MiB, Max: GiB, Follow: true}
	for _, tt := range []struct {
		limits MemoryLimits
		high   Bytes
		want   Bytes
	}{
		{follow, 32 * MiB, 48 * MiB},
		{follow, 400 * MiB, 500 * MiB},
		{follow, 799 * MiB, 799*MiB + 799*MiB/4},
		{follow, 800 * MiB, GiB},
		{MemoryLimits{Min: 32 * MiB, Max: 64 * MiB, Follow: true}, 60 * MiB, 64 * MiB},
		{MemoryLimits{Min: 32 * MiB, Max: GiB}, 32 * MiB, GiB},
		{MemoryLimits{Max: GiB, Follow: true}, 32 * MiB, GiB},
	} {
		if got := tt.limits.Hard(tt.high); got != tt.want {
			t.Errorf("%+v at %s: %s, want %s", tt.limits, tt.high, got, tt.want)
		}
	}
}
