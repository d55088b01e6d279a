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
		"":                            image.ErrReference,
		"oci:":                        image.ErrReference,
		"oci:relative":                image.ErrReference,
		"oci:/a:":                     image.ErrReference,
		"docker-archive:a.tar":        image.ErrReference,
		"dir:../x":                    image.ErrReference,
		"dir:/a\x00b":                 image.ErrReference,
		"wordpress":                   image.ErrUnsupported,
		"docker.io/library/wordpress": image.ErrUnsupported,
		"wordpress:6-apache":          image.ErrUnsupported,
		"docker://nginx":              image.ErrUnsupported,
		"DIR:/a":                      image.ErrUnsupported,
	} {
		if got, err := image.ParseRef(in); !errors.Is(err, want) {
			t.Errorf("ParseRef(%q) = %+v, %v; want %v", in, got, err, want)
		}
	}
}
