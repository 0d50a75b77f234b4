package record

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"regexp"
	"strings"
	"sync"
)

// KeyBytes is the length of an event's pseudonym key.
const KeyBytes = 32

// NewKey makes a pseudonym key from the system's randomness.
func NewKey() []byte {
	key := make([]byte, KeyBytes)
	rand.Read(key)
	return key
}

// Pseudonyms turns the identities of one event's chatters and donors into keyed pseudonyms:
// HMAC-SHA-256 cut to 128 bits, 22 characters of URL-safe base64. Channels of the event are public
// and keep their names where they are named; as authors of messages they too are pseudonyms, so
// that the field means one thing. It is safe for concurrent use.
type Pseudonyms struct {
	mac    sync.Pool
	public map[string]string // login and id of the event's channels, to the login
}

// NewPseudonyms needs the event's key of KeyBytes and the channels of the event, id to login.
func NewPseudonyms(key []byte, channels map[string]string) (*Pseudonyms, error) {
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("pseudonym key of %d bytes, want %d", len(key), KeyBytes)
	}
	key = append([]byte(nil), key...)
	p := &Pseudonyms{public: make(map[string]string, 2*len(channels))}
	p.mac.New = func() any { return hmac.New(sha256.New, key) }
	for id, login := range channels {
		p.public["id:"+id] = login
		p.public["login:"+strings.ToLower(login)] = strings.ToLower(login)
	}
	return p, nil
}

func (p *Pseudonyms) sum(namespace, value string) string {
	h := p.mac.Get().(hash.Hash) //nolint:forcetypeassert // the pool holds nothing else
	h.Reset()
	h.Write([]byte(namespace))
	h.Write([]byte(value))
	var buf [sha256.Size]byte
	s := base64.RawURLEncoding.EncodeToString(h.Sum(buf[:0])[:16])
	p.mac.Put(h)
	return s
}

// User is the pseudonym of a Twitch user id; empty for an empty id.
func (p *Pseudonyms) User(id string) string {
	if id == "" {
		return ""
	}
	return p.sum("twitch:", id)
}

// Name is the pseudonym of a login or display name, for places where Twitch gives no id. It is
// another one than the same person's User. Case does not matter. Logins of the event's channels
// are public and come back as they are, in lower case.
func (p *Pseudonyms) Name(name string) string {
	name = strings.ToLower(name)
	if name == "" {
		return ""
	}
	if login, ok := p.public["login:"+name]; ok {
		return login
	}
	return p.sum("login:", name)
}

// PublicLogin is the login of an event's channel by its id, and whether it is one.
func (p *Pseudonyms) PublicLogin(id string) (string, bool) {
	login, ok := p.public["id:"+id]
	return login, ok
}

// IsPublic reports whether a login is that of a channel of the event.
func (p *Pseudonyms) IsPublic(login string) bool {
	_, ok := p.public["login:"+strings.ToLower(login)]
	return ok
}

var mention = regexp.MustCompile(`@[\p{L}\p{N}_]{1,25}`)

// Text replaces every @mention of a chatter by "@" and the pseudonym of the name. Mentions of the
// event's channels stay.
func (p *Pseudonyms) Text(text string) string {
	if !strings.ContainsRune(text, '@') {
		return text
	}
	return mention.ReplaceAllStringFunc(text, func(m string) string { return "@" + p.Name(m[1:]) })
}
