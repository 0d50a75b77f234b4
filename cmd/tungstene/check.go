package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/queue"
)

type doctorCmd struct {
	app.Configured
	JSON bool `help:"Print JSON."`
}

// Shown is what help shows of the configuration.
func (*doctorCmd) Shown() []string { return []string{"data"} }

func (doctorCmd) Help() string {
	return `Each check says what is wrong and how to mend it. Exit code 1 when any has failed.

Example:
  tungstene doctor --config tungstene.yaml`
}

func (c *doctorCmd) Run(ctx context.Context, env app.Env) error {
	cfg, err := c.Checked()
	if err != nil {
		return err
	}
	checks := app.Doctor(ctx, cfg, c.Locate)
	failed := false
	for _, k := range checks {
		failed = failed || k.Status == app.CheckFailed
	}
	if c.JSON {
		enc := json.NewEncoder(env.Stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(checks); err != nil {
			return err
		}
	} else {
		table(env.Stdout, "CHECK\tSTATUS\tDETAIL", func(add func(...any)) {
			for _, k := range checks {
				add(k.Name, k.Status, k.Detail)
			}
		})
	}
	if failed {
		return app.ErrReported
	}
	return nil
}

type queueCmd struct {
	Declare queueDeclareCmd `cmd:"" help:"Declare the queues on RabbitMQ. Doing it again changes nothing."`
	Depth   queueDepthCmd   `cmd:"" help:"Tell how many batches wait in each queue."`
}

func (queueCmd) Help() string {
	return "Examples:\n  tungstene queue declare --config tungstene.yaml\n  tungstene queue depth --config tungstene.yaml"
}

// queueConfigured is the configuration of a command that only opens the queue.
type queueConfigured struct{ app.Configured }

// Shown is what help shows of the configuration.
func (*queueConfigured) Shown() []string { return []string{"queue"} }

type queueDeclareCmd struct{ queueConfigured }

func (queueDeclareCmd) Help() string {
	return "Needs a user with the right to configure; the roles' users don't.\n\nExample:\n  tungstene queue declare --config tungstene.yaml"
}

func (c *queueDeclareCmd) Run(ctx context.Context, env app.Env) error {
	cfg, err := c.Checked()
	if err != nil {
		return err
	}
	logger, err := app.NewLogger(env.Stderr, cfg.Log)
	if err != nil {
		return err
	}
	if err := app.DeclareQueue(ctx, cfg, logger); err != nil {
		return c.Locate(err)
	}
	fmt.Fprintln(env.Stdout, "the queues are declared")
	return nil
}

type queueDepthCmd struct {
	queueConfigured
	JSON bool `help:"Print JSON."`
}

func (queueDepthCmd) Help() string {
	return "Example:\n  tungstene queue depth --config tungstene.yaml --json"
}

func (c *queueDepthCmd) Run(ctx context.Context, env app.Env) (err error) {
	cfg, err := c.Checked()
	if err != nil {
		return err
	}
	logger, err := app.NewLogger(io.Discard, cfg.Log)
	if err != nil {
		return err
	}
	if cfg.Queue.Kind == "local" {
		return app.Usage("queue.kind is local: only the process that runs on it can tell; see %s", app.MasterURLs(cfg)[0])
	}
	cfg.Queue.Declare = false // looking must not change anything
	q, err := app.OpenQueue(ctx, cfg, logger, nil)
	if err != nil {
		return c.Locate(err)
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	depths := map[string]int{}
	for _, name := range []string{queue.Store, queue.Dead} {
		if depths[name], err = q.Depth(ctx, name); err != nil {
			return err
		}
	}
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(depths)
	}
	fmt.Fprintf(env.Stdout, "%s  %d\n%s   %d\n", queue.Store, depths[queue.Store], queue.Dead, depths[queue.Dead])
	return nil
}

func (docsCmd) Help() string { return "Example:\n  tungstene docs --out docs" }

type docsCmd struct {
	Out string `default:"docs" help:"Folder of the documents." type:"path"`
}

func (c *docsCmd) Run(env app.Env) error {
	files, err := app.WriteDocs(c.Out)
	for _, f := range files {
		fmt.Fprintln(env.Stdout, f)
	}
	return err
}
