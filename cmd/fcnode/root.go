package main

import (
	"github.com/spf13/cobra"
)

const rootLong = `fcnode runs web sites that wake on their first packet and sleep when nobody
visits them. "fcnode run" is the daemon; the other commands talk to it over its
unix socket, which root and the group fcnode may use.

Exit codes: 0 success; 1 failure (of check: something required is missing);
2 wrong usage; 3 no such site; 4 the daemon cannot be reached; 130 interrupted.
"fcnode exec" exits with the exit code of the command that it ran.`

// newRoot builds the command tree.
func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "fcnode",
		Short:         "Sites that wake on their first packet",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			e.parsed = true
		},
	}
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.PersistentFlags().StringVar(&e.socket, "socket", "",
		"`PATH` of the daemon's socket (default $FCNODE_SOCKET, else /run/fcnode/fcnode.sock)")
	root.AddGroup(
		&cobra.Group{ID: groupSites, Title: "Sites:"},
		&cobra.Group{ID: groupWatch, Title: "Watch:"},
		&cobra.Group{ID: groupNode, Title: "The node:"},
	)
	for group, commands := range map[string][]*cobra.Command{
		groupSites: {newDeploy(e), newEdit(e), newRollback(e), newInit(e), newImport(e), newApply(e), newDiff(e), newDelete(e), newList(e), newGet(e), newWake(e), newPark(e), newCirculate(e), newExec(e), newCp(e), newPortForward(e), newVolume(e), newImage(e)},
		groupWatch: {newTop(e), newEvents(e), newLogs(e), newTrace(e), newMetrics(e), newRoutes(e), newWhy(e), newRecord(e), newReplay(e), newPlan(e)},
		groupNode:  {newRun(e), newCheck(e), newInfo(e), newDeny(e), newDemo(e), newReload(e), newState(e), newTeardown(e), newVersion(e)},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(newDocs(e))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

const (
	groupSites = "sites"
	groupWatch = "watch"
	groupNode  = "node"
)
