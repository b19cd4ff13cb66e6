package standardwebhooks_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lavka/libs/service/standardwebhooks"
)

// The signature was made with OpenSSL: HMAC-SHA256 of "msg_1.1700000000.{"amount":100}".
const (
	secret    = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
	id        = "msg_1"
	body      = `{"amount":100}`
	signature = "bZ4qvgQLq3q635f73109AZiG9N8LIN93+SwTlYRqgtw="
)

var signedAt = time.Unix(1700000000, 0)

func keys(t *testing.T, text string) []standardwebhooks.Key {
	t.Helper()
	keys, err := standardwebhooks.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func at(now time.Time) func() time.Time { return func() time.Time { return now } }

func header(id, timestamp, signature string) http.Header {
	h := http.Header{}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", timestamp)
	h.Set("webhook-signature", signature)
	return h
}

// other returns a secret of 32 bytes that differs for each n.
func other(n byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string('a'+rune(n)), 32)))
}

func TestKnownSignature(t *testing.T) {
	t.Parallel()
	for _, text := range []string{secret, "whsec_" + secret, " " + secret + " ,", other(1) + "," + secret, secret + "," + other(1)} {
		v := standardwebhooks.New(keys(t, text), at(signedAt))
		if err := v.Verify(header(id, "1700000000", "v1,"+signature), []byte(body)); err != nil {
			t.Errorf("with the keys %q: %v", text, err)
		}
	}
	h := http.Header{}
	keys(t, secret)[0].Sign(h, id, signedAt, []byte(body))
	if got := h.Get("webhook-signature"); got != "v1,"+signature {
		t.Errorf("signed as %s", got)
	}
}

func TestForgedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	signed := header(id, "1700000000", "v1,"+signature)
	sum, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte{}, sum...)
	flipped[31] ^= 1
	twice := func(name, value string) http.Header {
		h := signed.Clone()
		h.Add(name, value)
		return h
	}
	without := func(name string) http.Header {
		h := signed.Clone()
		h.Del(name)
		return h
	}
	for _, c := range []struct {
		name   string
		header http.Header
		body   string
	}{
		{"another body under the same id", signed, `{"amount":900}`},
		{"a body with a space more", signed, body + " "},
		{"an empty body", signed, ""},
		{"another id", header("msg_2", "1700000000", "v1,"+signature), body},
		{"the time shifted by a second", header(id, "1700000001", "v1,"+signature), body},
		{"the time written in another way", header(id, "+1700000000", "v1,"+signature), body},
		{"the time with a zero in front", header(id, "01700000000", "v1,"+signature), body},
		{"the time as a fraction", header(id, "1700000000.0", "v1,"+signature), body},
		{"the time with a space", header(id, " 1700000000", "v1,"+signature), body},
		{"no time", without("webhook-timestamp"), body},
		{"a negative time", header(id, "-1700000000", "v1,"+signature), body},
		{"a time of many digits", header(id, strings.Repeat("9", 400), "v1,"+signature), body},
		{"no id", without("webhook-id"), body},
		{"no signature", without("webhook-signature"), body},
		{"an empty signature", header(id, "1700000000", "v1,"), body},
		{"a signature without a version", header(id, "1700000000", signature), body},
		{"a signature of another version", header(id, "1700000000", "v1a,"+signature), body},
		{"version and signature in upper case", header(id, "1700000000", "V1,"+signature), body},
		{"a signature in hexadecimal digits", header(id, "1700000000", "v1,"+hex.EncodeToString(sum)), body},
		{"a SHA-1 signature", header(id, "1700000000", "v1,f4eae5b2881d8b6a1455f62502d08b2258d80084"), body},
		{"a part of the signature", header(id, "1700000000", "v1,"+base64.StdEncoding.EncodeToString(sum[:16])), body},
		{"a signature with a wrong last bit", header(id, "1700000000", "v1,"+base64.StdEncoding.EncodeToString(flipped)), body},
		{"signatures separated by commas", header(id, "1700000000", "v1,AAAA,v1,"+signature), body},
		{"two ids", twice("webhook-id", "msg_2"), body},
		{"two times", twice("webhook-timestamp", "1700000001"), body},
		{"two headers with signatures", twice("webhook-signature", "v1,"+signature), body},
		{"an id with a full stop", header("msg.1", "1700000000", "v1,"+signature), body},
	} {
		v := standardwebhooks.New(keys(t, secret+","+other(1)), at(signedAt))
		if err := v.Verify(c.header, []byte(c.body)); !errors.Is(err, standardwebhooks.ErrSignature) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := standardwebhooks.New(nil, at(signedAt)).Verify(signed, []byte(body)); !errors.Is(err, standardwebhooks.ErrSignature) {
		t.Errorf("without keys: %v", err)
	}
	if err := standardwebhooks.New(keys(t, other(1)), at(signedAt)).Verify(signed, []byte(body)); !errors.Is(err, standardwebhooks.ErrSignature) {
		t.Errorf("with another key: %v", err)
	}
}

// An id with a full stop would let the end of an id pass as a time, and the time as the
// beginning of a body.
func TestAFullStopInTheIDIsRefused(t *testing.T) {
	t.Parallel()
	key, h := keys(t, secret)[0], http.Header{}
	key.Sign(h, "msg.1700000000", signedAt, []byte(body))
	moved := header("msg", "1700000000", h.Get("webhook-signature"))
	v := standardwebhooks.New([]standardwebhooks.Key{key}, at(signedAt))
	if err := v.Verify(h, []byte(body)); !errors.Is(err, standardwebhooks.ErrSignature) {
		t.Errorf("the id with a full stop: %v", err)
	}
	if err := v.Verify(moved, []byte("1700000000."+body)); err != nil {
		t.Errorf("this test proves nothing: what is signed is not the same text: %v", err)
	}
}

func TestSeveralSignatures(t *testing.T) {
	t.Parallel()
	first, second := keys(t, other(1))[0], keys(t, other(2))[0]
	h := http.Header{}
	first.Sign(h, id, signedAt, []byte(body))
	second.Sign(h, id, signedAt, []byte(body))
	if n := len(strings.Fields(h.Get("webhook-signature"))); n != 2 {
		t.Fatalf("%d signatures", n)
	}
	for _, key := range []standardwebhooks.Key{first, second} {
		if err := standardwebhooks.New([]standardwebhooks.Key{key}, at(signedAt)).Verify(h, []byte(body)); err != nil {
			t.Error(err)
		}
	}
	mixed := header(id, "1700000000", "v1a,"+signature+" v1,!!! v2,x v1,"+signature+" ")
	if err := standardwebhooks.New(keys(t, secret), at(signedAt)).Verify(mixed, []byte(body)); err != nil {
		t.Errorf("a right signature among others: %v", err)
	}
}

func TestTheTimeIsCheckedLast(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		late      time.Duration
		signature string
		want      error
	}{
		{0, signature, nil},
		{300 * time.Second, signature, nil},
		{-300 * time.Second, signature, nil},
		{301 * time.Second, signature, standardwebhooks.ErrExpired},
		{-301 * time.Second, signature, standardwebhooks.ErrExpired},
		{100 * 365 * 24 * time.Hour, signature, standardwebhooks.ErrExpired},
		{301 * time.Second, "A" + signature[1:], standardwebhooks.ErrSignature},
	} {
		v := standardwebhooks.New(keys(t, secret), at(signedAt.Add(c.late)))
		if err := v.Verify(header(id, "1700000000", "v1,"+c.signature), []byte(body)); !errors.Is(err, c.want) {
			t.Errorf("%v late: %v, want %v", c.late, err, c.want)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"whsec_", "whsec_!!!!", "whpk_" + secret, secret[:31] + "-",
		base64.StdEncoding.EncodeToString(make([]byte, 23)), base64.StdEncoding.EncodeToString(make([]byte, 65)),
		other(1) + ",short",
	} {
		if got, err := standardwebhooks.ParseKeys(text); err == nil {
			t.Errorf("%q was accepted as %d keys", text, len(got))
		} else if strings.Contains(err.Error(), secret[:31]) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	for _, none := range []string{"", " , ,"} {
		if got, err := standardwebhooks.ParseKeys(none); len(got) != 0 || err != nil {
			t.Errorf("%q: %d keys, %v", none, len(got), err)
		}
	}
	if got := keys(t, other(1)+","+strings.TrimRight(other(2), "=")+" , "+base64.StdEncoding.EncodeToString(make([]byte, 64))); len(got) != 3 {
		t.Errorf("%d of 3 keys were read", len(got))
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	raw, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	key := keys(t, secret)[0]
	var shown string
	for _, what := range []any{key, &key, []standardwebhooks.Key{key}, standardwebhooks.New([]standardwebhooks.Key{key}, time.Now)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			shown += fmt.Sprintf(verb, what)
		}
	}
	for _, form := range []string{secret, hex.EncodeToString(raw), string(raw), "1 2 3 4 5"} {
		if strings.Contains(shown, form) {
			t.Errorf("printed: %s", shown)
		}
	}
}

func TestSigned(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"webhook-id": true, "Webhook-Signature": true, "webhook-timestamp": true, "WEBHOOK-OTHER": true, "X-Webhook-Id": false, "Content-Type": false, "Webhook": false,
	} {
		if got := standardwebhooks.Signed(http.Header{name: {"x"}}); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
