// Command leave tells tests/root.sh what an emulated machine leaves of the privileged tests (package left), by the kernel
// that it has:
//
//	leave            lists it with the reasons, for people
//	leave PACKAGE    prints the -test.skip of a package, by its import path
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
		left.Tell(os.Stdout, "root.sh", leaves)
		return
	}
	fmt.Println(left.Skip(leaves, os.Args[1]))
}
