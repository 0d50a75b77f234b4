package record_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/tungstene/tungstene/pkg/record"
)

func TestManifestSignature(t *testing.T) {
	t.Parallel()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed := record.Manifest{Event: "a", State: record.FreezeUnsigned, Sum: strings.Repeat("ab", 32)}
	if err := signed.Verify(""); err == nil || !strings.Contains(err.Error(), "it is not signed") {
		t.Errorf("before: %v", err)
	}
	if err := signed.Sign(key, time.Now()); err != nil {
		t.Fatal(err)
	}
	foreign := signed
	if err := foreign.Sign(other, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, pinned, want string
		change             func(m *record.Manifest)
	}{
		{"its own key", "", "", nil},
		{"the pinned key", signed.PublicKey, "", nil},
		{"another key", foreign.PublicKey, "is signed with another key", nil},
		{"no key", "abc", "is not 32 bytes in base64", nil},
		{"another sum", "", "its signature is not that of its sum", func(m *record.Manifest) { m.Sum = strings.Repeat("ac", 32) }},
		{"another's signature", signed.PublicKey, "its signature is not that of its sum", func(m *record.Manifest) { m.Signature = foreign.Signature }},
		{"a broken signature", "", "its signature is not that of its sum", func(m *record.Manifest) { m.Signature = "%" }},
		{"a broken key", "", "its public key is none", func(m *record.Manifest) { m.PublicKey = base64.StdEncoding.EncodeToString([]byte("short")) }},
	} {
		m := signed
		if tc.change != nil {
			tc.change(&m)
		}
		err := m.Verify(tc.pinned)
		if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	if err := (&record.Manifest{Event: "a"}).Sign(key, time.Now()); err == nil {
		t.Error("a manifest without a sum was signed")
	}
}
