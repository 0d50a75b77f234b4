package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
)

type eventApplyCmd struct {
	channelImportCmd
	Name     string        `help:"Name shown to people."`
	For      time.Duration `default:"24h"          help:"How long from now it lasts at least."`
	TimeZone string        `default:"Europe/Paris" help:"IANA time zone that days and displayed times go by."`
	Replicas int           `default:"1"            help:"On how many collectors each channel is read: 1 or 2."`
}

func (eventApplyCmd) Help() string {
	return `Makes an event if it is not there, adds the channels of a list to it, and starts it now. Doing it again changes nothing but the end, which moves to --for from now if it is earlier. For demonstrations and trials of an installation; the event of a date is made with create, channel import and schedule.

Example:
  tungstene event apply trial streamers.txt --for 2h --replicas 2`
}

func (c *eventApplyCmd) Run(ctx context.Context, env app.Env) error {
	if c.For <= 0 {
		return app.Usage("--for %s: use more than 0", c.For)
	}
	if err := c.ensure(ctx, time.Now()); err != nil {
		return err
	}
	told := env
	if c.JSON {
		told.Stdout = io.Discard // one object is printed, the event's
	}
	if err := c.channelImportCmd.Run(ctx, told); err != nil {
		return err
	}
	return with(&c.operator, env.Stdout, func(m *control.Client) (record.Event, error) {
		return m.SetState(ctx, c.Event, control.Start)
	}, showEvent)
}

// ensure makes the event, or has it end late enough.
func (c *eventApplyCmd) ensure(ctx context.Context, now time.Time) error {
	m, err := c.client()
	if err != nil {
		return err
	}
	defer m.Close()
	end := now.Add(c.For)
	e, err := m.Event(ctx, c.Event)
	var problem *control.Problem
	switch {
	case err == nil && e.End.Before(end):
		_, err = m.UpdateEvent(ctx, c.Event, control.EventPatch{End: &end})
	case errors.As(err, &problem) && problem.Status == http.StatusNotFound:
		_, err = m.CreateEvent(ctx, control.NewEvent{
			Slug: c.Event, Name: c.Name, Start: now, End: end, TimeZone: c.TimeZone, Replicas: c.Replicas,
		})
	}
	return err
}
