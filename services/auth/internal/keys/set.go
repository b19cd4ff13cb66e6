// Package keys manages the keys that sign access tokens: a private JWK set (RFC
// 7517) in a file. The first key signs; the public halves of all keys are
// published.
package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Key is one signing key (Ed25519, RFC 8037).
type Key struct {
	ID      string
	MadeAt  int64 // when the key was created, as Unix time; 0 if the file does not say
	private ed25519.PrivateKey
}

// Set is one or more keys. The first one signs.
type Set []Key

// PublicKey is a key as published. It has no field for the private part.
type PublicKey struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
	X         string `json:"x"`
}

type privateKey struct {
	PublicKey
	D string `json:"d"`
	// Registered for JWKs by OpenID Federation; a NumericDate.
	IssuedAt float64 `json:"iat,omitempty"`
}

type file struct {
	Keys []privateKey `json:"keys"`
}

// NewKey returns a new key. Its id is its thumbprint (RFC 7638).
func NewKey() (Key, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("create key: %w", err)
	}
	return Key{ID: thumbprint(public), MadeAt: time.Now().Unix(), private: private}, nil
}

// Public returns the public half.
func (k Key) Public() PublicKey {
	return PublicKey{Type: "OKP", Curve: "Ed25519", ID: k.ID, Algorithm: "EdDSA", Use: "sig", X: b64.EncodeToString(k.public())}
}

func (k Key) public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// String keeps the key out of logs.
func (k Key) String() string { return "key " + k.ID }

// Parse parses a private JWK set. Its errors never quote the text.
func Parse(text []byte) (Set, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, errors.New("the file is not a JWK set")
	}
	if len(f.Keys) == 0 {
		return nil, errors.New("the set has no keys")
	}
	set := make(Set, 0, len(f.Keys))
	for i, k := range f.Keys {
		key, err := parseKey(k)
		if err != nil {
			return nil, fmt.Errorf("key %d of the set: %w", i+1, err)
		}
		if set.find(key.ID) >= 0 {
			return nil, fmt.Errorf("key %d of the set has the same kid as another key", i+1)
		}
		set = append(set, key)
	}
	return set, nil
}

func parseKey(k privateKey) (Key, error) {
	if k.Type != "OKP" || k.Curve != "Ed25519" {
		return Key{}, errors.New(`it does not have "kty": "OKP" and "crv": "Ed25519"`)
	}
	if k.ID == "" || len(k.ID) > 128 {
		return Key{}, errors.New("it has no kid, or one longer than 128 characters")
	}
	seed, err := b64.DecodeString(k.D)
	if err != nil || len(seed) != ed25519.SeedSize {
		return Key{}, errors.New("d is not a private Ed25519 key")
	}
	private := ed25519.NewKeyFromSeed(seed)
	if x, err := b64.DecodeString(k.X); err != nil || !private.Public().(ed25519.PublicKey).Equal(ed25519.PublicKey(x)) {
		return Key{}, errors.New("x is not the public key of d")
	}
	return Key{ID: k.ID, MadeAt: int64(k.IssuedAt), private: private}, nil
}

func (s Set) encode() ([]byte, error) {
	f := file{Keys: make([]privateKey, len(s))}
	for i, k := range s {
		f.Keys[i] = privateKey{PublicKey: k.Public(), D: b64.EncodeToString(k.private.Seed()), IssuedAt: float64(k.MadeAt)}
	}
	text, err := json.MarshalIndent(f, "", "  ")
	return append(text, '\n'), err
}

func (s Set) find(id string) int {
	for i, k := range s {
		if k.ID == id {
			return i
		}
	}
	return -1
}

var b64 = base64.RawURLEncoding.Strict()

func thumbprint(public ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + b64.EncodeToString(public) + `"}`))
	return b64.EncodeToString(sum[:])
}
