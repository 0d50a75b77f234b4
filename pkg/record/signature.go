package record

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// Sign signs the manifest's Sum, as it stands there in hexadecimal, and completes the manifest.
func (m *Manifest) Sign(key ed25519.PrivateKey, now time.Time) error {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok || m.Sum == "" {
		return fmt.Errorf("manifest of event %s: there is nothing to sign, or nothing to sign with", m.Event)
	}
	m.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(m.Sum)))
	m.PublicKey = base64.StdEncoding.EncodeToString(public)
	m.Signed, m.State = Millis(now), FreezeDone
	return nil
}

// Verify checks the signature of the manifest's Sum. With a pinned public key, in base64, the
// signature must be that key's; else it is checked by the key that the manifest itself names, which
// proves only that the two belong together. Whether Sum is that of what is stored it does not say.
func (m *Manifest) Verify(pinned string) error {
	if m.State != FreezeDone {
		return fmt.Errorf("manifest of event %s is %s: it is not signed", m.Event, m.State)
	}
	key, err := base64.StdEncoding.DecodeString(m.PublicKey)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("manifest of event %s: its public key is none", m.Event)
	}
	if pinned != "" {
		want, err := base64.StdEncoding.DecodeString(pinned)
		if err != nil || len(want) != ed25519.PublicKeySize {
			return errors.New("the public key to check with is not 32 bytes in base64")
		}
		if !bytes.Equal(want, key) {
			return fmt.Errorf("manifest of event %s is signed with another key, %s", m.Event, m.PublicKey)
		}
	}
	signature, err := base64.StdEncoding.DecodeString(m.Signature)
	if err != nil || !ed25519.Verify(key, []byte(m.Sum), signature) {
		return fmt.Errorf("manifest of event %s: its signature is not that of its sum", m.Event)
	}
	return nil
}
