// Command leave tells tests/root.sh what an emulated machine leaves of the privileged tests (package left), by the kernel
// that it has:
//
//	leave            lists it with the reasons, for people
//	leave PACKAGE    prints the arguments for the test binary of a package, by its import path, a line for each
package main

import (
	"fmt"
	"os"

	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/fcnode/fcnode/tests/vm/left"
)

func main() {
	kernel, err := testutil.RunningKernel()
	if err != nil {
		fmt.Fprintf(os.Stderr, "leave: %v\n", err)
		os.Exit(1)
	}
	leaves := left.On(left.Release(kernel))
	if len(os.Args) < 2 {
		leaves.Tell(os.Stdout, "root.sh")
		return
	}
	for _, arg := range leaves.Args(os.Args[1]) {
		fmt.Println(arg)
	}
}
