package record

// PersonalKinds are the kinds of records that are erased with an event's RecordDays: what they say is of
// people. Donations are not among them: they stay, without their donors.
func PersonalKinds() []Kind {
	return []Kind{KindMessage, KindNotice, KindModeration, KindAnswer}
}

// Lapsed says what of an event is not kept any more.
type Lapsed struct {
	// Texts are what people wrote: Text of messages, notices and donations.
	Texts bool
	// Answers are those of charity sources, and Raw of donations.
	Answers bool
	// Donors is all that donations say of who gave.
	Donors bool
	// Records are those of the PersonalKinds.
	Records bool
}

// Lapsed is what was erased of the event.
func (e *Event) Lapsed() Lapsed {
	return Lapsed{
		Texts: !e.TextErased.IsZero(), Answers: !e.AnswersErased.IsZero(),
		Donors: !e.RecordsErased.IsZero(), Records: !e.RecordsErased.IsZero(),
	}
}

// From takes what is not kept out of a record that Encode, Parse or DecodeBatch gave: as Redact, with
// Removed for a record of which nothing is kept. No statistic speaks of what is taken out of a record that
// stays.
func (l Lapsed) From(r Record) (Record, Redaction) {
	switch r.Kind {
	case KindMessage, KindNotice, KindModeration:
		if l.Records {
			return r, Removed
		}
	case KindAnswer:
		if l.Records || l.Answers {
			return r, Removed
		}
	default: // of nobody, or a donation
	}
	what := Kept
	for _, e := range [...]struct {
		lapsed  bool
		without func(Record) (Record, bool)
	}{{l.Texts, WithoutText}, {l.Answers, WithoutRaw}, {l.Donors, WithoutDonor}} {
		if !e.lapsed {
			continue
		}
		out, had := e.without(r)
		if r = out; had {
			what = Changed
		}
	}
	return r, what
}
