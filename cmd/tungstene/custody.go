package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/custody"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

type manifestCmd struct {
	Check manifestCheckCmd `cmd:"" help:"Compare what is stored of a frozen event with its signed manifest."`
}

func (manifestCmd) Help() string {
	return "Example:\n  tungstene manifest check --event zevent-2026 --config tungstene.yaml"
}

type manifestCheckCmd struct {
	app.Stored
	Event     string `help:"Event." required:""`
	PublicKey string `help:"Public key, in base64, that the manifest must be signed with. Default: the one that the manifest names, which proves less." name:"public-key"`
	JSON      bool   `help:"Print the result as one JSON object." name:"json"`
}

func (manifestCheckCmd) Help() string {
	return `Makes the checksums of all that is stored of the event again, names every day of every collection that differs, and checks the signature. It only reads. Exit code 1 when anything is not what was signed.

Examples:
  tungstene manifest check --event zevent-2026 --data ./data
  tungstene manifest check --event zevent-2026 --config tungstene.yaml --public-key "$KEY" --json`
}

// checkPublicKey refuses what can't be the key of a manifest.
func checkPublicKey(key string) error {
	if key == "" {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return app.Usage("--public-key %q: use the %d characters of base64 that 'tungstene event manifest' shows as public key",
			key, base64.StdEncoding.EncodedLen(ed25519.PublicKeySize))
	}
	return nil
}

func (c *manifestCheckCmd) Run(ctx context.Context, env app.Env) (err error) {
	if err := checkPublicKey(c.PublicKey); err != nil {
		return err
	}
	s, err := openForReading(ctx, &c.Configured)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	res, err := custody.CheckManifest(ctx, s, c.Event, c.PublicKey)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("event %s has no manifest: it is not frozen", c.Event)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(env.Stdout).Encode(res); err != nil {
			return err
		}
	} else {
		verdict := "as it was signed"
		if !res.OK() {
			verdict = "NOT what was signed"
		}
		fmt.Fprintf(env.Stdout, "event       %s: %s\nmanifest    %d (%s), %s\nstored      %s, %s\nsigned by   %s\n",
			res.Event, verdict, res.Revision, res.Cause, res.Sum, some(int(res.Documents), "document", "documents"), res.Stored, res.PublicKey)
		if res.Signature != "" {
			fmt.Fprintf(env.Stdout, "signature   %s\n", res.Signature)
		}
		for _, d := range res.Differences {
			date := d.Day
			if date == "" {
				date = "without a day"
			}
			fmt.Fprintf(env.Stdout, "  - %s, %s: %s in the manifest, %s stored\n", d.Collection, date, part(d.Manifest), part(d.Stored))
		}
	}
	if !res.OK() {
		return app.ErrReported
	}
	return nil
}

func part(p *record.ManifestPart) string {
	if p == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s (%.12s)", some(int(p.Documents), "document", "documents"), p.SHA256)
}

type reconcileCmd struct {
	app.Stored
	Event string    `help:"Event." required:""`
	From  time.Time `help:"Start, as in 2026-09-04T18:00:00Z. Default: the event's."`
	To    time.Time `help:"End (exclusive). Default: the event's."`
	JSON  bool      `help:"Print JSON: the differences and what was compared." name:"json"`
}

func (reconcileCmd) Help() string {
	return `Counts the closed minutes again from the stored records and compares them with the minute documents, hours with minutes, and totals with hours. It only reads; 'tungstene rollup rebuild' repairs. Exit code 1 when anything differs.

Examples:
  tungstene reconcile --event zevent-2026 --data ./data
  tungstene reconcile --event zevent-2026 --from 2026-09-04T18:00:00Z --to 2026-09-04T20:00:00Z --config tungstene.yaml --json`
}

func (c *reconcileCmd) Run(ctx context.Context, env app.Env) (err error) {
	if !c.From.IsZero() && !c.To.IsZero() && !c.From.Before(c.To) {
		return app.Usage("--from %s is not before --to %s", c.From.Format(time.RFC3339), c.To.Format(time.RFC3339))
	}
	s, err := openForReading(ctx, &c.Configured)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	drifts := []custody.Drift{}
	rep, err := custody.Reconcile(ctx, s, c.Event, c.From.UTC(), c.To.UTC(), func(d custody.Drift) {
		if c.JSON {
			drifts = append(drifts, d)
			return
		}
		what := d.Field
		if what == "" {
			what = "the document"
		}
		fmt.Fprintf(env.Stdout, "%s %s, channel %s: %s is %s, should be %s\n",
			d.Collection, d.Time.Format(time.RFC3339), d.Channel, what, d.Have, d.Want)
	})
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("there is no event %s", c.Event)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(env.Stdout).Encode(struct {
			custody.Report
			Differences []custody.Drift `json:"differences"`
		}{rep, drifts})
		if err != nil {
			return err
		}
	} else {
		fmt.Fprintf(env.Stdout, "event %s: %s, %s, %s compared; %s; %s to be counted again\n", rep.Event,
			some(rep.Minutes, "minute", "minutes"), some(rep.Hours, "hour", "hours"), some(rep.Documents, "document", "documents"),
			some(rep.Drifts, "field differs", "fields differ"), some(rep.Pending, "minute waits", "minutes wait"))
	}
	if rep.Drifts > 0 {
		return app.ErrReported
	}
	return nil
}

// openForReading opens the store that the configuration names, which may be in use.
func openForReading(ctx context.Context, c *app.Configured) (store.Store, error) {
	cfg, err := c.Checked()
	if err != nil {
		return nil, err
	}
	s, err := app.OpenStore(ctx, cfg, true)
	if err != nil {
		return nil, c.Locate(err)
	}
	return s, nil
}
