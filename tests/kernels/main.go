// Command kernels writes docs/kernels.md from the table of features that gates the tests:
//
//	kernels -write docs/kernels.md
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/fcnode/fcnode/tests/testutil"
)

func main() {
	path := flag.String("write", "", "file to write; standard output without it")
	flag.Parse()
	if err := write(*path); err != nil {
		fmt.Fprintf(os.Stderr, "kernels: %v\n", err)
		os.Exit(1)
	}
}

func write(path string) error {
	if path == "" {
		_, err := os.Stdout.WriteString(page())
		return err
	}
	return os.WriteFile(path, []byte(page()), 0o644) //nolint:gosec // a page everybody may read
}

// tested is a kernel on which every privileged test runs.
type tested struct {
	version       testutil.Version
	name, release string
	until         string
	criu          string // that checkpoints there, as TestRootCRIU has seen
}

// matrix is what tests/vm boots. The dates are the ends of Debian's support of the release (LTS included).
var matrix = []tested{
	{testutil.V(6, 1), "6.1", "Debian 12 (bookworm)", "June 2028", "4.2.1, of a newer Debian (its own 3.17 lacks options)"},
	{testutil.V(6, 12), "6.12", "Debian 13 (trixie)", "June 2030", "4.1.1, its own"},
	{testutil.V(7, 2), "7.x", "Debian sid", "follows sid: the newest only", "4.2.1, its own"},
}

const head = `# Kernels

This page is made from the table that gates the tests (tests/testutil/table.go) by ` + "`make docs`" + `; CI checks that it
is current. A test that needs a feature runs on every kernel that has it by this table, and fails there when the
feature does not work: what the table says is what was seen.

## Which kernels

fcnode runs on Linux 6.1 and newer, on x86-64. Every privileged test runs on these kernels, as Debian
builds them, before a change is taken in:

| kernel | comes with | supported until | CRIU |
|---|---|---|---|
`

const middle = `
CRIU is what the tier checkpointed is made with; from Linux 6.16 on it must be 4.2 or newer. ` + "`make deps`" + ` (packaging/criu.sh)
gets one that fits the running kernel: the distribution's own, or a newer Debian's in a folder of its own.

Kernels in between and newer ones are expected to work: fcnode asks the kernel for each feature when it starts,
and ` + "`fcnode check`" + ` tells what this machine has and what to do about what it lacks. A kernel leaves this list
when its Debian release is no longer supported; the release of fcnode that drops it says so in CHANGELOG.md
six months ahead.

## Which feature from which kernel on

"yes" means that the feature is expected there: a test that fails to find it fails. "Debian" marks what Debian builds into its
kernels only from then on. The last column tells what fcnode does without it; where it says "required", fcnode does not work
without it.

`

// page renders the whole page.
func page() string {
	var b strings.Builder
	b.WriteString(head)
	for _, k := range matrix {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", k.name, k.release, k.until, k.criu)
	}
	b.WriteString(middle)
	b.WriteString("| feature | since |")
	for _, k := range matrix {
		fmt.Fprintf(&b, " %s |", k.name)
	}
	b.WriteString(" what for | without it |\n|---|---|" + strings.Repeat("---|", len(matrix)) + "---|---|\n")
	for _, f := range testutil.Features {
		fmt.Fprintf(&b, "| %s | %s |", f.Name, since(f))
		for _, k := range matrix {
			fmt.Fprintf(&b, " %s |", yesNo(!k.version.Less(f.Expected())))
		}
		without := f.Else
		if without == "" {
			without = "required"
		}
		fmt.Fprintf(&b, " %s | %s |\n", f.Use, without)
	}
	return b.String()
}

func since(f testutil.Feature) string {
	if f.Expected() != f.Since {
		return fmt.Sprintf("%s (Debian %s)", f.Since, f.Expected())
	}
	return f.Since.String()
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
