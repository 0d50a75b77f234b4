package rollup

import (
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// Fold is Merge of any number of documents, of which sketches are decoded once. It is not safe for
// concurrent use.
type Fold struct {
	start   time.Time
	s       *sum
	head    record.Statistics // what identifies the result, and the completeness of its viewers
	viewers string
}

// NewFold is for documents of a channel, or of all, of an event that starts at start.
func NewFold(start time.Time, channel string) *Fold { return &Fold{start: start, s: newSum(channel)} }

// Add adds a document, which is not kept; no two of them may have a minute in common. It fails when its
// sketch can't be read; the Fold is of no use then.
func (f *Fold) Add(d *record.Statistics) error {
	if err := f.s.add(d); err != nil {
		return err
	}
	viewers := viewersOf(f.start, d)
	if f.head.ID == "" {
		f.head = record.Statistics{ID: d.ID, Event: d.Event, Time: d.Time, State: d.State}
		f.viewers = viewers
	} else if f.viewers != "" || viewers != "" {
		f.viewers = together(f.viewers, viewers)
	}
	if d.Time.Before(f.head.Time) {
		f.head.Time = d.Time
	}
	if d.State != record.StateClosed {
		f.head.State = record.StateOpen
	}
	f.head.Epoch = max(f.head.Epoch, d.Epoch)
	f.head.Counted = later(f.head.Counted, d.Counted)
	f.head.Through = later(f.head.Through, d.Through)
	return nil
}

// Statistics is what Merge makes of the documents added so far. Of none, it is empty.
func (f *Fold) Statistics() record.Statistics {
	m := f.s.statistics()
	m.ID, m.Event, m.Time, m.State = f.head.ID, f.head.Event, f.head.Time, f.head.State
	m.Epoch, m.Counted, m.Through = f.head.Epoch, f.head.Counted, f.head.Through
	m.Coverage = coverage(m.Coverage.Seconds, m.Coverage.Expected, 0, 0)
	m.Coverage.Viewers = together(f.viewers, "")
	return m
}
