package cgroup

import (
	"fmt"
	"os"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// envPrivate makes the test binary a program that calls EnterPrivate.
const envPrivate = "FCNODE_CGROUP_TEST_PRIVATE"

func TestMain(m *testing.M) {
	if os.Getenv(envPrivate) != "" {
		privateMain()
	}
	testutil.Main(m)
}

// privateMain prints what the process sees after EnterPrivate.
func privateMain() {
	if err := EnterPrivate(); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	h, err := Detect()
	fmt.Println(h.Unified, h.Private, err)
	os.Exit(0)
}
