package netctl

import (
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

func TestMain(m *testing.M) {
	if isDaemon() {
		runDaemon() // a helper process of TestRootDaemonIsKilled
		return
	}
	testutil.Main(m)
}
