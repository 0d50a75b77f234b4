// Tungstene is the operator's tool: it runs everything in one process, simulates Twitch, checks an
// installation, and speaks to the master.
package main

import (
	"os"

	"github.com/alecthomas/kong"

	"github.com/tungstene/tungstene/pkg/app"
)

// version is set when the program is built.
var version = "dev"

type tool struct {
	Demo        demoCmd        `cmd:"" help:"Run the whole pipeline against a simulated Twitch, and check that nothing is lost."`
	Up          upCmd          `cmd:"" help:"Run all roles in one process."`
	Sim         simCmd         `cmd:"" help:"Run the simulated Twitch alone."`
	Sample      sampleCmd      `cmd:"" help:"Fill a store with a whole event, to try everything on."`
	Verify      verifyCmd      `cmd:"" help:"Compare a ledger of what was sent with what is stored and counted."`
	Reconcile   reconcileCmd   `cmd:"" help:"Compare the statistics of an event with its records."`
	Export      exportCmd      `cmd:"" help:"Write what is stored of an event as CSV, JSON lines or Parquet."`
	SQL         sqlCmd         `cmd:"" help:"Query the embedded store in SQL." name:"sql"`
	Manifest    manifestCmd    `cmd:"" help:"Check the manifest of a frozen event."`
	Stats       statsCmd       `cmd:"" help:"Statistics of an event: summaries, leaderboards, bursts, audiences, comparisons."`
	Report      reportCmd      `cmd:"" help:"Make the pictures of an event: of each streamer, and of the event."`
	Event       eventCmd       `cmd:"" help:"Create, change, start and stop events."`
	Channel     channelCmd     `cmd:"" help:"Import, list and remove the channels of an event."`
	Goal        goalCmd        `cmd:"" help:"Import, list, change and accomplish donation goals."`
	Correction  correctionCmd  `cmd:"" help:"Correct totals of donations, and find what looks wrong in them."`
	Collectors  collectorsCmd  `cmd:"" help:"List the collectors, or forget one that won't come back."`
	Members     membersCmd     `cmd:"" help:"List every running role, or forget one that won't come back."`
	Drain       drainCmd       `cmd:"" help:"Have a collector left without channels, or take that back."`
	Deadletter  deadletterCmd  `cmd:"" help:"List, show, replay and drop what was refused."`
	Rollup      rollupCmd      `cmd:"" help:"Have closed minutes counted again."`
	Backfill    backfillCmd    `cmd:"" help:"Store recorded chat of a channel from a file."`
	OptOut      optOutCmd      `cmd:"" help:"Keep the list of those of whom nothing is recorded." name:"optout"`
	Forget      forgetCmd      `cmd:"" help:"Erase people from what was collected."`
	Doctor      doctorCmd      `cmd:"" help:"Check configuration, credentials, broker, store and clock, and say how to mend what is wrong."`
	Health      healthCmd      `cmd:"" help:"Ask a running process whether it is well."`
	Queue       queueCmd       `cmd:"" help:"Declare the queues, or tell how full they are."`
	Permissions permissionsCmd `cmd:"" help:"Print the rights of each role at broker and database, or apply them."`
	Docs        docsCmd        `cmd:"" help:"Write the generated pages of docs/." hidden:""`

	Version kong.VersionFlag `help:"Print the version."`
}

func main() { os.Exit(program().Main(os.Args[1:])) }

func program() app.Program {
	return app.Program{
		Name:        "tungstene",
		Description: "Collects what happens on the Twitch channels of a charity marathon, keeps all of it, and counts it.\n\nExample:\n  tungstene demo",
		Version:     version,
		Grammar:     &tool{},
	}
}
