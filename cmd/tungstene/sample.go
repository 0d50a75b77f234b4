package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/sample"
)

type sampleCmd struct {
	app.Stored
	Event     string `default:"sample"  help:"Event that is made."`
	Channels  int    `default:"350"     help:"Channels, 2 to 5000."`
	Hours     int    `default:"55"      help:"Length of the event in hours, 1 to 96."`
	Messages  int64  `default:"2000000" help:"Chat messages."`
	Donations int64  `help:"About how many single donations. Default: a tenth of the messages."`
	Amount    int64  `help:"Euros given in all. Default: 16 million for 350 channels and 55 hours, else in proportion."`
	Seed      uint64 `default:"1"       help:"What everything is drawn by: the same seed makes the same documents."`
	Replace   bool   `help:"Delete the sample that is there first."`
	JSON      bool   `help:"Print the result as one JSON object."                                                       name:"json"`
}

func (sampleCmd) Help() string {
	return `Fills a store with a whole charity weekend, to try everything on: chat, viewers, streams, titles, raids, subscriptions, moderation, donations of two sources with faults and their corrections, goals, gaps. The curves are those of a recorded marathon; people and channels are invented. It takes about two minutes; the event has ended when it is done. Nothing else may run on the folder meanwhile. In MongoDB it needs a user who may write all collections; those of 'tungstene permissions' may not.

Examples:
  tungstene sample --data ./data
  tungstene sample --data ./data --channels 12 --hours 6 --messages 20000
  tungstene sample --config tungstene.yaml --event big --messages 10000000 --json`
}

func (c *sampleCmd) Run(ctx context.Context, env app.Env) (err error) {
	if c.Channels == 0 || c.Hours == 0 || c.Messages == 0 || c.Seed == 0 {
		return app.Usage("--channels, --hours, --messages and --seed must be above 0")
	}
	sc := sample.Config{
		Event: c.Event, Channels: c.Channels, Hours: c.Hours, Messages: c.Messages, Donations: c.Donations, Cents: c.Amount * 100,
		Seed: c.Seed,
	}
	if _, err := sample.Event(sc); err != nil {
		return app.Usage("%w", err)
	}
	cfg, err := c.Checked()
	if err != nil {
		return err
	}
	if cfg.Data != "" {
		if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
			return fmt.Errorf("make the data folder: %w; name another with --data", err)
		}
	}
	s, err := app.OpenStoreToFill(ctx, cfg)
	if err != nil {
		return c.Locate(err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	began, told := time.Now(), &waiting{w: env.Stderr, quiet: c.JSON}
	res, err := sample.Fill(ctx, s, sc, c.Replace, func(p sample.Progress) {
		left := time.Duration(0)
		if p.Minutes > 0 {
			left = time.Since(began) / time.Duration(p.Minutes) * time.Duration(p.All-p.Minutes)
		}
		told.tell("%d %%, %d records, %s left", 100*p.Minutes/p.All, p.Records, left.Round(time.Second))
	})
	switch {
	case errors.Is(err, sample.ErrExists):
		return fmt.Errorf("%w: --replace makes it anew, --event makes another", err)
	case errors.Is(err, sample.ErrForeign):
		return fmt.Errorf("%w: it is left as it is; name another with --event", err)
	case err != nil:
		return err
	}
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(res)
	}
	fmt.Fprintf(env.Stdout, "event %s: %s, %s, %s, %s, %d donations of %s in all, %s\n"+
		"%d records and %d minute documents in %.0f s\n",
		res.Event, some(res.Channels, "channel", "channels"), some(res.Hours, "hour", "hours"), some(int(res.Messages), "message", "messages"),
		some(int(res.Raids), "raid", "raids"), res.Gifts, amountText(res.Cents, "EUR"), some(res.Goals, "goal", "goals"),
		res.Records, res.Minutes, res.Seconds)
	return nil
}
