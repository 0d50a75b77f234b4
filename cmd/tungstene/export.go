package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/report/export"
	"github.com/tungstene/tungstene/pkg/statistics"
)

type exportCmd struct {
	app.Stored
	Event   string    `help:"Event. Default: the only one in the store."`
	Out     string    `help:"Folder for the files; made where it isn't there." required:"" placeholder:"DIR"`
	Format  string    `enum:"csv,jsonl,parquet" help:"Format of the tables: csv, jsonl or parquet." required:"" placeholder:"csv|jsonl|parquet"`
	Table   []string  `help:"Only this table; may be repeated. Default: all." placeholder:"TABLE"`
	From    time.Time `help:"Start of what has a time, as in 2026-09-04T18:00:00Z. Default: everything."`
	To      time.Time `help:"End (exclusive). Default: everything."`
	NoText  bool      `help:"Leave out what people wrote, and the answers of charity sources." name:"no-text"`
	Replace bool      `help:"Delete an earlier export in the folder first."`
	JSON    bool      `help:"Print what export.json says." name:"json"`
}

func (exportCmd) Help() string {
	return `Writes every kind of record and the statistics into files, one for each day, with a data dictionary and checksums (docs/exports.md). It only reads the store; chatters and donors are pseudonyms in the files too.

Examples:
  tungstene export --data ./data --out ./export --format parquet
  tungstene export --config tungstene.yaml --event zevent-2026 --out ./export --format csv --table minutes --table summaries`
}

func (c *exportCmd) Run(ctx context.Context, env app.Env) (err error) {
	for _, name := range c.Table {
		if err := export.CheckTable(name); err != nil {
			return app.Usage("--table: %v", err)
		}
	}
	if !c.To.IsZero() && !c.From.Before(c.To) {
		return app.Usage("--to %s: use a time after --from", c.To.Format(time.RFC3339))
	}
	s, err := openForReading(ctx, &c.Configured)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	opts := export.Options{
		Store: s, Event: c.Event, Dir: c.Out, Format: c.Format, Tables: c.Table, From: c.From, To: c.To,
		NoText: c.NoText, Replace: c.Replace, Version: version,
	}
	begun := time.Now()
	if !c.JSON {
		opts.Progress = exportProgress(env.Stderr, begun)
	}
	m, err := export.Write(ctx, opts)
	switch {
	case errors.Is(err, export.ErrOccupied) && !c.Replace:
		return fmt.Errorf("%w (--replace)", err)
	case errors.Is(err, statistics.ErrUnknown) && c.Event == "":
		return fmt.Errorf("%w (--event)", err)
	case err != nil:
		return err
	}
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(m)
	}
	rows, bytes, files := map[string]int64{}, map[string]int64{}, map[string]int{}
	for _, f := range m.Files {
		rows[f.Table] += f.Rows
		bytes[f.Table] += f.Bytes
		files[f.Table]++
	}
	table(env.Stdout, "TABLE\t>FILES\t>ROWS\t>BYTES", func(add func(...any)) {
		for _, name := range export.Tables() {
			if files[name] > 0 {
				add(name, files[name], rows[name], bytes[name])
			}
		}
	})
	fmt.Fprintf(env.Stdout, "\n%s (%s): %d rows, %d bytes in %d files in %s, in %s\n", m.Name, m.State, m.Rows, m.Bytes, len(m.Files), c.Out,
		time.Since(begun).Round(time.Millisecond))
	if m.State != "ended" && m.State != "frozen" {
		fmt.Fprintf(env.Stdout, "The event is %s: what comes later is not in it.\n", m.State)
	}
	return nil
}

// exportProgress tells a line every few seconds, or on a terminal the same one again and again.
func exportProgress(w io.Writer, begun time.Time) func(int64, time.Time) {
	every, end := 5*time.Second, "\n"
	if isTerminal(w) {
		every, end = 200*time.Millisecond, "\r"
	}
	told := begun
	return func(rows int64, through time.Time) {
		now := time.Now()
		if now.Sub(told) < every {
			return
		}
		told = now
		at := ""
		if !through.IsZero() {
			at = ", records up to " + through.UTC().Format("2006-01-02 15:04") + " UTC"
		}
		line := fmt.Sprintf("%d rows, %.0f a second%s", rows, float64(rows)/now.Sub(begun).Seconds(), at)
		fmt.Fprint(w, line+strings.Repeat(" ", max(0, 78-len(line)))+end)
	}
}
