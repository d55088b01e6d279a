package main

import (
	"fmt"
	"io"

	"github.com/fcnode/fcnode/runtime/api"
)

// checkSite prints on which tiers a site can sleep. It fails where the spec
// asks for one that is not usable.
func checkSite(e *env, answer *api.SiteCheck, output format) error {
	if output == formatJSON {
		if err := printJSON(e.stdout, answer); err != nil {
			return err
		}
	} else if err := printSiteCheck(e.stdout, answer); err != nil {
		return err
	}
	for _, t := range answer.Tiers {
		if t.Asked && !t.Usable {
			return exitCode(exitFailure)
		}
	}
	return nil
}

func printSiteCheck(w io.Writer, c *api.SiteCheck) error {
	var t table
	t.row("TIER", "USABLE", "IN THE WAY")
	for _, tier := range c.Tiers {
		usable := "yes"
		if !tier.Usable {
			usable = "no"
			if tier.Asked {
				usable = "no, and the spec asks for it"
			}
		}
		first := "-"
		for i, f := range tier.Findings {
			text := f.What
			if f.Process != "" {
				text = f.Process + ": " + text
			}
			if i == 0 {
				first = text
				t.row(string(tier.Tier), usable, first)
			} else {
				t.row("", "", text)
			}
			if f.Remedy != "" {
				t.row("", "", "  remedy: "+f.Remedy)
			}
		}
		if len(tier.Findings) == 0 {
			t.row(string(tier.Tier), usable, first)
		}
	}
	if err := t.print(w); err != nil {
		return err
	}
	if c.Replica == "" {
		_, err := fmt.Fprintf(w, "\nNothing of %s runs: what its processes hold was not looked at (fcnode wake %s).\n", c.Site, c.Site)
		return err
	}
	_, err := fmt.Fprintf(w, "\nLooked at %s. That nothing was found is no promise: a dump that fails harms nobody, and the events say why.\n", c.Replica)
	return err
}
