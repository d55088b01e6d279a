package e2e

import (
	"os"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

func TestMain(m *testing.M) {
	if os.Getenv(envGuest) != "" {
		os.Exit(guestMain())
	}
	testutil.Main(m)
}
