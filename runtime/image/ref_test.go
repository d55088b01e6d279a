package image_test

import (
	"errors"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
)

func TestParseRef(t *testing.T) {
	for in, want := range map[string]image.Ref{
		"oci:/a/b":     {Kind: image.KindLayout, Path: "/a/b"},
		"oci:/a/b:1.0": {Kind: image.KindLayout, Path: "/a/b", Name: "1.0"},
		"oci:/a//b/../c:registry.example:5000/x:1": {Kind: image.KindLayout, Path: "/a/c", Name: "registry.example:5000/x:1"},
		"docker-archive:/a.tar":                    {Kind: image.KindArchive, Path: "/a.tar"},
		"docker-archive:/a.tar:x/y:1":              {Kind: image.KindArchive, Path: "/a.tar", Name: "x/y:1"},
		"dir:/srv/root/":                           {Kind: image.KindDir, Path: "/srv/root"},
		"dir:/srv/a:b":                             {Kind: image.KindDir, Path: "/srv/a:b"},
		"dir:/srv/../../..":                        {Kind: image.KindDir, Path: "/"},
		"docker.io/library/wordpress":              {Kind: image.KindRegistry, Name: "docker.io/library/wordpress"},
		"localhost/a:1":                            {Kind: image.KindRegistry, Name: "localhost/a:1"},
		"[::1]:5000/a/b:1":                         {Kind: image.KindRegistry, Name: "[::1]:5000/a/b:1"},
	} {
		got, err := image.ParseRef(in)
		if err != nil || got != want {
			t.Errorf("ParseRef(%q) = %+v, %v; want %+v", in, got, err, want)
		}
		if again, err := image.ParseRef(got.String()); err != nil || again != got {
			t.Errorf("ParseRef(%q) = %+v, %v; want what it was made from, %+v", got.String(), again, err, got)
		}
	}
	for in, want := range map[string]error{
		"":                        image.ErrReference,
		"oci:":                    image.ErrReference,
		"oci:relative":            image.ErrReference,
		"oci:/a:":                 image.ErrReference,
		"docker-archive:a.tar":    image.ErrReference,
		"dir:../x":                image.ErrReference,
		"dir:/a\x00b":             image.ErrReference,
		"wordpress":               image.ErrReference,
		"bitnami/wordpress":       image.ErrReference,
		"wordpress:6-apache":      image.ErrReference,
		"docker://nginx":          image.ErrReference,
		"docker.io/library/Nginx": image.ErrReference,
		"docker.io/a@sha256:1":    image.ErrReference,
		"DIR:/a":                  image.ErrReference,
		"other:a/b":               image.ErrReference,
	} {
		if got, err := image.ParseRef(in); !errors.Is(err, want) {
			t.Errorf("ParseRef(%q) = %+v, %v; want %v", in, got, err, want)
		}
	}
}

func TestAtDigest(t *testing.T) {
	for ref, want := range map[string]string{
		"reg.example:5000/a/b:1": "reg.example:5000/a/b@sha256:d", "reg.example:5000/a": "reg.example:5000/a@sha256:d",
		"docker.io/library/a:1@sha256:0000000000000000000000000000000000000000000000000000000000000000": "docker.io/library/a@sha256:d",
		"oci:/a:1": "", "dir:/a": "", "blog:1": "",
	} {
		if got, ok := image.AtDigest(ref, "sha256:d"); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %t", ref, got, ok)
		}
	}
}
