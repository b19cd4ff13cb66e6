package idempotency_test

import (
	"strings"
	"testing"

	"lavka/libs/domain/problem"
	"lavka/libs/service/idempotency"
)

func TestKey(t *testing.T) {
	t.Parallel()
	for key, ok := range map[string]bool{
		"a": true, "~": true, "two words ~!": true, `"quoted"`: true, strings.Repeat("k", 255): true,
		"": false, strings.Repeat("k", 256): false, "ключ": false, "a\tb": false, "\x7f": false, "a\x00b": false, "\xff": false,
	} {
		got, err := idempotency.Key(&key)
		if (err == nil) != ok || ok && got != key || !ok && problem.From(err).Code != "malformed" {
			t.Errorf("%q: %q, %v", key, got, err)
		}
	}
	if got, err := idempotency.Key(nil); got != "" || err != nil {
		t.Errorf("no header: %q, %v", got, err)
	}
}
