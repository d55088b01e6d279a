package archive

import (
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }
