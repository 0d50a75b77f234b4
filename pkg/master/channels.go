package master

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

// resolveChunk is the most accounts of one look-up.
const resolveChunk = 100

func (m *Master) channelsOf(ctx context.Context, slug string) ([]record.Channel, error) {
	list, err := find[record.Channel](ctx, m.cfg.Store, store.Query{Collection: store.Channels, Event: slug})
	return sortedChannels(list), err
}

func idOfChannel(event, id string) string  { return event + "/" + id }
func idOfLogin(event, login string) string { return event + "/login:" + login }

// editable says whether the channels of an event may change.
func editable(e record.Event) error {
	if e.State == record.EventEnded || e.State == record.EventFrozen {
		return conflict("event %s is %s: its channels can't change any more", e.Slug, e.State)
	}
	return nil
}

// importChannels adds a list of logins to an event.
func (m *Master) importChannels(ctx context.Context, slug, contentType string, body []byte) (control.Imported, error) {
	out := control.Imported{
		Added: []string{}, Existing: []string{}, Duplicates: []control.ImportLine{},
		Invalid: []control.ImportLine{}, Unknown: []string{}, Unresolved: []string{},
	}
	e, err := m.event(ctx, slug)
	if err != nil {
		return out, err
	}
	if err := editable(e); err != nil {
		return out, err
	}
	list, err := parseLogins(contentType, body)
	if err != nil {
		return out, badValue("body", "%s", err.Error())
	}
	out.Duplicates = append(out.Duplicates, list.Duplicates...)
	out.Invalid = append(out.Invalid, list.Invalid...)

	have, err := m.channelsOf(ctx, slug)
	if err != nil {
		return out, err
	}
	byLogin := make(map[string]record.Channel, len(have))
	for _, c := range have {
		byLogin[c.Login] = c
	}
	var fresh []string
	for _, login := range list.Logins {
		if _, ok := byLogin[login]; ok {
			out.Existing = append(out.Existing, login)
		} else {
			fresh = append(fresh, login)
		}
	}
	for _, login := range fresh {
		c := record.Channel{
			ID: idOfLogin(slug, login), Rev: 1, Event: slug, Login: login,
			Status: record.ChannelUnresolved, Added: record.Millis(m.cfg.Clock.Now()),
		}
		err := m.setDoc(ctx, store.Channels, 0, c.ID, c)
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return out, err
		}
	}
	// They are in the list now, whatever Twitch says or doesn't.
	res, err := m.resolveChannels(ctx, slug, func(c record.Channel) bool {
		return c.Channel == "" && slices.Contains(fresh, c.Login)
	})
	if err != nil {
		return out, err
	}
	out.Unknown, out.Unresolved, out.Detail = res.Unknown, res.Unresolved, res.Detail
	for _, login := range fresh {
		if slices.Contains(res.merged, login) {
			out.Existing = append(out.Existing, login)
		} else {
			out.Added = append(out.Added, login)
		}
	}
	m.log.Info("channels imported", "event", slug, "added", len(out.Added), "existing", len(out.Existing),
		"invalid", len(out.Invalid), "unknown", len(out.Unknown), "unresolved", len(out.Unresolved))
	m.nudge(m.wake)
	if len(out.Unresolved) > 0 {
		m.nudge(m.resolve)
	}
	return out, nil
}

// resolution is what a look-up did.
type resolution struct {
	control.Resolved
	// merged are logins that turned out to be channels which the event had by their id.
	merged []string
}

// resolveChannels looks up an event's channels that are selected. An error is about the store; that Twitch can't be asked is told in the result.
func (m *Master) resolveChannels(ctx context.Context, slug string, selected func(record.Channel) bool) (resolution, error) {
	out := resolution{Resolved: control.Resolved{
		Resolved: []string{}, Renamed: []string{}, Unknown: []string{}, Unresolved: []string{}, Gone: []string{},
	}}
	all, err := m.channelsOf(ctx, slug)
	if err != nil {
		return out, err
	}
	all = slices.DeleteFunc(all, func(c record.Channel) bool { return !selected(c) })
	for _, c := range all {
		if claimed(c) { // Twitch has answered already
			if err := m.adopt(ctx, c, User{ID: c.Channel, Login: c.Login, Name: c.Name, Picture: c.Picture}, &out); err != nil {
				return out, err
			}
		}
	}
	all = slices.DeleteFunc(all, claimed)
	for chunk := range slices.Chunk(all, resolveChunk) {
		if err := m.resolveChunk(ctx, chunk, &out); err != nil {
			return out, err
		}
	}
	if len(out.Resolved.Resolved)+len(out.Renamed) > 0 {
		m.nudge(m.wake)
	}
	return out, nil
}

func (m *Master) resolveChunk(ctx context.Context, chunk []record.Channel, out *resolution) error {
	var ids, logins []string
	for _, c := range chunk {
		if c.Channel != "" {
			ids = append(ids, c.Channel)
		} else {
			logins = append(logins, c.Login)
		}
	}
	users, err := m.users(ctx, ids, logins)
	if ctx.Err() != nil {
		return fmt.Errorf("look up channels: %w", ctx.Err())
	}
	if err != nil {
		out.Unresolved = append(out.Unresolved, logins...)
		out.Detail = err.Error()
		return nil //nolint:nilerr // told in the result: it is tried again
	}
	byID, byLogin := make(map[string]User, len(users)), make(map[string]User, len(users))
	for _, u := range users {
		u.Login = strings.ToLower(u.Login)
		byID[u.ID], byLogin[u.Login] = u, u
	}
	for _, c := range chunk {
		if c.Channel != "" {
			u, ok := byID[c.Channel]
			if !ok {
				out.Gone = append(out.Gone, c.Login)
				continue
			}
			if err := m.refresh(ctx, c, u, out); err != nil {
				return err
			}
			continue
		}
		u, ok := byLogin[c.Login]
		if ok {
			err = m.adopt(ctx, c, u, out)
		} else {
			out.Unknown = append(out.Unknown, c.Login)
			err = m.setStatus(ctx, c, record.ChannelUnknown)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Master) users(ctx context.Context, ids, logins []string) ([]User, error) {
	if m.cfg.Resolver == nil {
		return nil, errors.New("logins can't be looked up: no Twitch client id is configured")
	}
	users, err := m.cfg.Resolver.Users(ctx, ids, logins)
	if err != nil {
		return nil, fmt.Errorf("look up channels at Twitch: %w", err)
	}
	return users, nil
}

// claimed says that a login has been given its id, and that adopt is between its steps or was
// interrupted there.
func claimed(c record.Channel) bool { return c.Channel != "" && c.ID == idOfLogin(c.Event, c.Login) }

// adopt gives a login its id, in three steps: the login's document claims the id, the channel gets a
// document under the id, and that of the login goes. The claim fails when the login was removed
// while Twitch was asked; once it is made, removeChannel refuses. Adopting a claimed login again
// finishes what a crash left.
func (m *Master) adopt(ctx context.Context, c record.Channel, u User, out *resolution) error {
	claim := c
	claim.Rev, claim.Channel, claim.Name, claim.Picture = c.Rev+1, u.ID, u.Name, u.Picture
	claim.Status = record.ChannelUnresolved // so that the next look finds it
	err := m.setDoc(ctx, store.Channels, c.Rev, c.ID, claim)
	if errors.Is(err, store.ErrConflict) {
		return nil // it was removed, or somebody else is at it
	}
	if err != nil {
		return err
	}
	next := claim
	next.ID, next.Rev, next.Status = idOfChannel(c.Event, u.ID), 1, record.ChannelActive
	err = m.setDoc(ctx, store.Channels, 0, next.ID, next)
	switch {
	case errors.Is(err, store.ErrConflict):
		// The event has the channel, perhaps by the login that it had before.
		old, err := m.channelByID(ctx, next.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil // removed just now; the claim stands, and the next look finishes it
		}
		if err != nil {
			return err
		}
		out.merged = append(out.merged, c.Login)
		if err := m.refresh(ctx, old, u, out); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		out.Resolved.Resolved = append(out.Resolved.Resolved, u.Login)
	}
	_, err = m.cfg.Store.DeleteIf(ctx, store.Channels, c.ID, "channel", u.ID)
	if err != nil {
		return fmt.Errorf("delete %s: %w", c.ID, err)
	}
	return nil
}

// refresh writes a channel whose login, name or picture has changed. Its id stays.
func (m *Master) refresh(ctx context.Context, c record.Channel, u User, out *resolution) error {
	next := c
	next.Rev, next.Login, next.Name, next.Picture = c.Rev+1, u.Login, u.Name, u.Picture
	if next.Login == c.Login && next.Name == c.Name && next.Picture == c.Picture {
		return nil
	}
	err := m.setDoc(ctx, store.Channels, c.Rev, c.ID, next)
	if errors.Is(err, store.ErrConflict) {
		return nil // somebody else has just done so, or removed it
	}
	if err != nil {
		return err
	}
	if next.Login != c.Login {
		out.Renamed = append(out.Renamed, c.Login+" → "+next.Login)
		m.log.Info("channel has a new login", "event", c.Event, "channel", c.Channel, "login", next.Login, "was", c.Login)
	}
	return nil
}

func (m *Master) setStatus(ctx context.Context, c record.Channel, status string) error {
	if c.Status == status {
		return nil
	}
	rev := c.Rev
	c.Status, c.Rev = status, rev+1
	err := m.setDoc(ctx, store.Channels, rev, c.ID, c)
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

func (m *Master) channelByID(ctx context.Context, id string) (record.Channel, error) {
	var c record.Channel
	raw, err := m.cfg.Store.Get(ctx, store.Channels, id)
	if err != nil {
		return c, fmt.Errorf("channel %s: %w", id, err)
	}
	if err := bson.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("decode channel %s: %w", id, err)
	}
	return c, nil
}

// removeChannel takes the channel of an id or login out of an event. What was recorded stays.
func (m *Master) removeChannel(ctx context.Context, slug, channel string) error {
	e, err := m.event(ctx, slug)
	if err != nil {
		return err
	}
	if err := editable(e); err != nil {
		return err
	}
	login, _ := parseLogin(channel)
	for {
		list, err := m.channelsOf(ctx, slug)
		if err != nil {
			return err
		}
		// A login made of digits could be an id as well; the id counts.
		i := slices.IndexFunc(list, func(c record.Channel) bool { return c.Channel == channel && channel != "" })
		if i < 0 {
			i = slices.IndexFunc(list, func(c record.Channel) bool { return c.Login == login })
		}
		if i < 0 {
			return absent("event %s has no channel %s", slug, channel)
		}
		c := list[i]
		if slices.ContainsFunc(list, func(other record.Channel) bool { return claimed(other) && other.Channel == c.Channel }) {
			// What adopt does next would bring it back.
			return conflict("channel %s is just being given its Twitch id: try again in a moment; if this lasts, run: tungstene channel resolve %s",
				c.Login, slug)
		}
		// With its id as seen: of this and a claim, one comes first.
		deleted, err := m.cfg.Store.DeleteIf(ctx, store.Channels, c.ID, "channel", c.Channel)
		if err != nil {
			return fmt.Errorf("remove channel %s: %w", c.Login, err)
		}
		if deleted {
			m.log.Info("channel removed", "event", slug, "channel", c.Login)
			m.nudge(m.wake)
			return nil
		}
	}
}

// public is the event's public list, id to login.
func public(list []record.Channel) map[string]string {
	logins := make(map[string]string, len(list))
	for _, c := range list {
		if c.Status == record.ChannelActive {
			logins[c.Channel] = c.Login
		}
	}
	return logins
}

// displayNames are the names that the channels of an event show, by id.
func displayNames(list []record.Channel) map[string]string {
	names := make(map[string]string, len(list))
	for _, c := range list {
		if c.Status == record.ChannelActive && c.Name != "" {
			names[c.Channel] = c.Name
		}
	}
	return names
}

// fingerprint changes when the public list or one of the names in it does.
func fingerprint(public, names map[string]string) string {
	parts := make([]string, 0, 3*len(public))
	for _, id := range slices.Sorted(maps.Keys(public)) {
		parts = append(parts, id, public[id], names[id])
	}
	return record.Hash(parts...)
}
