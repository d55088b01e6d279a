package testutil

import (
	"errors"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	missing := errors.New("no such thing")
	lacking := func() string { return "CONFIG_X" }
	complete := func() string { return "" }
	tests := []struct {
		name   string
		kernel Version
		probed error
		strict bool
		lacks  func() string
		skip   string
		fails  bool
	}{
		{"works", V(6, 12), nil, true, nil, "", false},
		{"works though older than the table says", V(6, 1), nil, true, nil, "", false},
		{"older kernel", V(6, 1), missing, true, nil, "comes with Linux 6.6, this is 6.1", false},
		{"new enough", V(6, 6), missing, false, nil, "", true},
		{"excused", V(6, 12), missing, false, lacking, "this machine lacks CONFIG_X", false},
		{"no excuse on the rig", V(6, 12), missing, true, lacking, "", true},
		{"nothing lacking", V(6, 12), missing, false, complete, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Feature{Name: "x", Since: V(6, 6), Lacks: tt.lacks}.judge(tt.kernel, tt.probed, tt.strict)
			if (v.err != nil) != tt.fails {
				t.Errorf("error %v, want one: %v", v.err, tt.fails)
			}
			if tt.skip == "" && v.skip != "" || !strings.Contains(v.skip, tt.skip) {
				t.Errorf("skip %q, want %q", v.skip, tt.skip)
			}
			if v.skip != "" && !strings.HasPrefix(v.skip, SkipMarker) {
				t.Errorf("skip %q does not start with the marker", v.skip)
			}
		})
	}
}

// TestJudgeDebian: a feature that Debian's older kernels are built without is not expected of the rig's.
func TestJudgeDebian(t *testing.T) {
	f := Feature{Name: "x", Since: V(3, 11), Debian: V(7, 0), Lacks: func() string { return "CONFIG_X" }}
	missing := errors.New("no such thing")
	for _, c := range []struct {
		kernel       Version
		strict, skip bool
	}{{V(6, 12), true, true}, {V(7, 0), true, false}, {V(6, 18), false, true}} {
		if v := f.judge(c.kernel, missing, c.strict); (v.skip != "") != c.skip || (v.err != nil) == c.skip {
			t.Errorf("%s, strict %v: skip %q, error %v; want a skip: %v", c.kernel, c.strict, v.skip, v.err, c.skip)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]Version{
		"6.1.0-50-cloud-amd64": V(6, 1), "7.2.13+deb14-cloud-amd64": V(7, 2), "6.18.44-fc": V(6, 18),
	} {
		if got, err := ParseVersion(in); err != nil || got != want {
			t.Errorf("ParseVersion(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	if _, err := ParseVersion("next"); err == nil {
		t.Error(`ParseVersion("next") gave no error`)
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Features {
		if seen[f.Name] {
			t.Errorf("%s is in the table twice", f.Name)
		}
		seen[f.Name] = true
		if f.Use == "" || f.Probe == nil || f.Since == (Version{}) {
			t.Errorf("%s lacks a use, a probe or a version", f.Name)
		}
	}
}

// TestRootFeatures holds the table to this kernel: what should be there is, and what works is not
// said to come with a later kernel.
func TestRootFeatures(t *testing.T) {
	Privileged(t)
	kernel, err := RunningKernel()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Features {
		t.Run(f.Name, func(t *testing.T) {
			if kernel.Less(f.Since) && f.Probe() == nil {
				t.Errorf("works on Linux %s, but the table says that it comes with %s", kernel, f.Since)
			}
			RequireFeature(t, f.Name)
		})
	}
}
