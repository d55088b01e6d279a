package image_test

import (
	"os"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envUnpackAndHang); dir != "" {
		unpackAndHang(dir, os.Getenv(envReference))
	}
	testutil.Main(m)
}
