package master

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// minTokenBytes is the shortest token: 16 random characters of base64 are 96 bits.
	minTokenBytes = 16
	// tokensAge is how long tokens are used before their source is asked again.
	tokensAge = 2 * time.Second
	// maxTokenFile bounds a token file.
	maxTokenFile = 64 << 10
)

// TokenSource returns the tokens that are valid now. It is asked every few seconds.
type TokenSource func() ([]string, error)

// TokenFile reads tokens from a file, one a line, so that an old and a new one can be valid at
// once while a token is rotated. Blank lines and lines that begin with # don't count.
func TokenFile(path string) TokenSource {
	return func() ([]string, error) {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("token file: %w", err)
		}
		if info.Size() > maxTokenFile {
			return nil, fmt.Errorf("token file %s is larger than %d bytes", path, maxTokenFile)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("token file: %w", err)
		}
		tokens, err := parseTokens(b)
		if err != nil {
			return nil, fmt.Errorf("token file %s: %w", path, err)
		}
		return tokens, nil
	}
}

// parseTokens never puts a token into an error.
func parseTokens(b []byte) ([]string, error) {
	var tokens []string
	n := 0
	for line := range bytes.Lines(b) {
		n++
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		if err := checkToken(s); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		tokens = append(tokens, s)
	}
	if len(tokens) == 0 {
		return nil, errors.New("no token in it: write one a line")
	}
	return tokens, nil
}

// StaticTokens always returns the same tokens.
func StaticTokens(tokens ...string) TokenSource {
	return func() ([]string, error) {
		if len(tokens) == 0 {
			return nil, errors.New("no token")
		}
		for i, t := range tokens {
			if err := checkToken(t); err != nil {
				return nil, fmt.Errorf("token %d: %w", i+1, err)
			}
		}
		return tokens, nil
	}
}

func checkToken(s string) error {
	if len(s) < minTokenBytes {
		return fmt.Errorf("token is shorter than %d characters", minTokenBytes)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return errors.New("token has a character that a header can't carry: use visible ASCII without spaces")
		}
	}
	return nil
}

// tokenSet holds the hashes of one role's tokens. When its source fails it goes on with those that
// it had: a file that is being replaced must not lock everybody out.
type tokenSet struct {
	source TokenSource

	mu     sync.Mutex
	read   time.Time
	hashes [][sha256.Size]byte
	err    error // of the last reading
}

func newTokenSet(source TokenSource) (*tokenSet, error) {
	s := &tokenSet{source: source}
	s.refresh()
	return s, s.err
}

func (s *tokenSet) refresh() {
	if !s.read.IsZero() && time.Since(s.read) < tokensAge {
		return
	}
	tokens, err := s.source()
	s.read, s.err = time.Now(), err
	if err != nil {
		return
	}
	s.hashes = s.hashes[:0]
	for _, t := range tokens {
		s.hashes = append(s.hashes, sha256.Sum256([]byte(t)))
	}
}

// holds reports whether the token is valid, in a time that does not depend on how much of it is
// right, nor on which of them it is.
func (s *tokenSet) holds(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	sum := sha256.Sum256([]byte(token))
	found := 0
	for i := range s.hashes {
		found |= subtle.ConstantTimeCompare(sum[:], s.hashes[i][:])
	}
	return found == 1
}

// failing returns what was wrong at the last reading.
func (s *tokenSet) failing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.err
}
