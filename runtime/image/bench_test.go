package image_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// manyLayers makes the layers of an image like wordpress:6-apache: 22 of them.
func manyLayers() []build.Layer {
	var layers []build.Layer
	for i := range 22 {
		layers = append(layers, build.NewLayer(text("etc/"+strconv.Itoa(i), strings.Repeat("x", 10_000))))
	}
	return layers
}

// What every cold start pays for an image that is unpacked.
func BenchmarkResolveUnpacked(b *testing.B) {
	for name, makeRef := range map[string]func(testing.TB, ...build.Layer) string{"oci": layoutOf, "docker-archive": archiveOf} {
		for n, layers := range map[string][]build.Layer{"1-layer": manyLayers()[:1], "22-layers": manyLayers()} {
			b.Run(name+"/"+n, func(b *testing.B) {
				s, _ := openStore(b)
				image.SetClock(s, func() time.Time { return time.Now().Add(time.Hour) }) // the archive counts as old
				ref := makeRef(b, layers...)
				resolve(b, s, ref)
				b.ResetTimer()
				for b.Loop() {
					resolve(b, s, ref)
				}
			})
		}
	}
	b.Run("dir", func(b *testing.B) {
		s, _ := openStore(b)
		ref := "dir:" + b.TempDir()
		for b.Loop() {
			resolve(b, s, ref)
		}
	})
}

// Unpacking 100 MB of one file, and 10,000 small ones.
func BenchmarkUnpack(b *testing.B) {
	small := make([]build.Entry, 10_000)
	for i := range small {
		small[i] = text(filepath.Join("d", strconv.Itoa(i%100), strconv.Itoa(i)), "content")
	}
	for name, entries := range map[string][]build.Entry{
		"100MB":       {text("big", strings.Repeat("0123456789abcdef", 100<<20/16))},
		"10000-files": small,
	} {
		b.Run(name, func(b *testing.B) {
			ref := layoutOf(b, build.NewLayer(entries...))
			for b.Loop() {
				b.StopTimer()
				s, _ := openStore(b)
				b.StartTimer()
				resolve(b, s, ref)
			}
		})
	}
}
