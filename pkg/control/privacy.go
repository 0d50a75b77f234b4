package control

import (
	"context"
	"net/http"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

// MaxPersons is the most people that one call can name.
const MaxPersons = 1000

// Persons names people on Twitch. They stand in bodies only, never in paths, so that no log of
// requests has them.
type Persons struct {
	Persons []string `json:"persons" minItems:"1" maxItems:"1000" doc:"Each a Twitch id (digits), a login, @login, or ID:LOGIN, which is believed and not looked up"`
}

// NewOptOut asks that nothing is recorded of people, in any event.
type NewOptOut struct {
	Persons
	Forget bool `json:"forget,omitempty" doc:"Erase what events have of them, too"`
}

// Person is somebody on the opt-out list, or to be forgotten.
type Person struct {
	// ID is the Twitch id; empty when it is not known, then what the person writes can't be told
	// from what others write, only where the login is named.
	ID string `json:"id,omitempty"`
	// Login is in lower case; empty when it is not known.
	Login string `json:"login,omitempty"`
	// Name is the display name where it is not the login in other letters.
	Name string `json:"name,omitempty"`
}

// OptOut is what became of a change of the opt-out list.
type OptOut struct {
	// Changed are those who were added or taken out, Unchanged those who were there, or not there,
	// already.
	Changed   []Person `json:"changed"`
	Unchanged []Person `json:"unchanged"`
	// Incomplete are those of Changed and Unchanged of whom Twitch knows no account now, or could not
	// be asked; they are looked up again. Detail says why.
	Incomplete []Person `json:"incomplete"`
	Detail     string   `json:"detail,omitempty"`
	// Forgotten is what became of erasing them, where that was asked for.
	Forgotten []Forgotten `json:"forgotten,omitempty"`
}

// NewForget asks that people are erased, of one event or of all: persons on Twitch, or donors.
type NewForget struct {
	Persons []string `json:"persons,omitempty" maxItems:"1000" doc:"Each a Twitch id (digits), a login, @login, or ID:LOGIN, which is believed and not looked up"`
	// Donors are looked for both as an id and as a name.
	Donors    []string `json:"donors,omitempty" maxItems:"1000" doc:"Each a charity source's name, a colon and its id of the donor; or the name that the source shows of the donor"`
	Event     string   `json:"event,omitempty" maxLength:"64" doc:"The event; empty with all_events"`
	AllEvents bool     `json:"all_events,omitempty"`
}

// Forgotten is what became of the wish to erase one person.
type Forgotten struct {
	Person Person `json:"person"`
	// Donor is the donor instead, as named in the wish.
	Donor string `json:"donor,omitempty"`
	// Tombstones are those that were written: one an event; one more for the login, as what a streamer
	// is in deleted messages; and one more where the display name is another word than the login.
	Tombstones []record.Tombstone `json:"tombstones"`
	// Skipped are events of which nobody can be erased, because their key was destroyed.
	Skipped []string `json:"skipped,omitempty"`
	// Warnings say what could not be made sure, in sentences.
	Warnings []string `json:"warnings,omitempty"`
}

// ForgottenAgain is what became of the wish to erase once more whom an event has forgotten.
type ForgottenAgain struct {
	Event string `json:"event"`
	// Tombstones is how many are pending now.
	Tombstones int `json:"tombstones"`
}

// KeyDestroyed is what became of destroying an event's pseudonym key.
type KeyDestroyed struct {
	Event     string    `json:"event"`
	Destroyed time.Time `json:"destroyed"`
	// Before says that it had been destroyed before.
	Before bool `json:"before,omitempty" doc:"It had been destroyed before"`
	// Remaining says where a copy of the key may still be, a sentence each.
	Remaining []string `json:"remaining"`
}

// NewFreeze asks that an event is frozen.
type NewFreeze struct {
	Force bool `json:"force,omitempty" doc:"Don't wait for collectors that are not heard any more"`
}

// OptOutList returns the list of those who opted out.
func (c *Client) OptOutList(ctx context.Context) ([]Person, error) {
	return answerOf[[]Person](ctx, c, http.MethodGet, "/v1/optout", nil, "list those who opted out")
}

// AddOptOut puts people on the opt-out list.
func (c *Client) AddOptOut(ctx context.Context, in NewOptOut) (OptOut, error) {
	return answerOf[OptOut](ctx, c, http.MethodPost, "/v1/optout", in, "add to the opt-out list")
}

// RemoveOptOut takes people out of the opt-out list.
func (c *Client) RemoveOptOut(ctx context.Context, persons []string) (OptOut, error) {
	return answerOf[OptOut](ctx, c, http.MethodPost, "/v1/optout/remove", Persons{persons}, "remove from the opt-out list")
}

// Forget has people erased. It answers at once; Tombstones tells how far the erasing is.
func (c *Client) Forget(ctx context.Context, in NewForget) ([]Forgotten, error) {
	return answerOf[[]Forgotten](ctx, c, http.MethodPost, "/v1/forget", in, "forget")
}

// ForgetAgain has everybody erased once more whom an event has forgotten: after a restore.
func (c *Client) ForgetAgain(ctx context.Context, slug string) (ForgottenAgain, error) {
	return answerOf[ForgottenAgain](ctx, c, http.MethodPost, eventPath(slug, "forget-again"), nil, "forget again in event %s", slug)
}

// Tombstones lists whom an event has forgotten, by their pseudonyms.
func (c *Client) Tombstones(ctx context.Context, slug string) ([]record.Tombstone, error) {
	return answerOf[[]record.Tombstone](ctx, c, http.MethodGet, eventPath(slug, "tombstones"), nil, "list tombstones of event %s", slug)
}

// DestroyKey destroys an event's pseudonym key, for good.
func (c *Client) DestroyKey(ctx context.Context, slug string) (KeyDestroyed, error) {
	return answerOf[KeyDestroyed](ctx, c, http.MethodPost, eventPath(slug, "destroy-key"), nil, "destroy the key of event %s", slug)
}

// Freeze asks that an event is frozen. Manifest tells how far that is.
func (c *Client) Freeze(ctx context.Context, slug string, in NewFreeze) (record.Manifest, error) {
	return answerOf[record.Manifest](ctx, c, http.MethodPost, eventPath(slug, "freeze"), in, "freeze event %s", slug)
}

// CancelFreeze takes the wish back as long as the freezing waits.
func (c *Client) CancelFreeze(ctx context.Context, slug string) error {
	return c.operate(ctx, http.MethodDelete, eventPath(slug, "freeze"), nil, nil, "cancel the freezing of event %s", slug)
}

// Manifest returns an event's manifest, finished or not.
func (c *Client) Manifest(ctx context.Context, slug string) (record.Manifest, error) {
	return answerOf[record.Manifest](ctx, c, http.MethodGet, eventPath(slug, "manifest"), nil, "read the manifest of event %s", slug)
}
