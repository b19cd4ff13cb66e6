package httpapi

import (
	"testing"
	"time"
)

func TestPreferredWait(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"wait=5": 5 * time.Second, "Wait = 5": 5 * time.Second, `wait="7"`: 7 * time.Second, "respond-async, wait=3;x=1": 3 * time.Second, "wait=15": 15 * time.Second,
		"wait=16": 15 * time.Second, "wait=2147483647": 15 * time.Second, "wait=99999999999999999999": 0, "wait=2, wait=9": 2 * time.Second,
		"": 0, "wait": 0, "wait=": 0, "wait=-1": 0, "wait=1.5": 0, "wait=0": 0, "waiting=4": 0, `foo="a, wait=x"`: 0,
	} {
		if got := preferredWait(&header); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
	if got := preferredWait(nil); got != 0 {
		t.Errorf("no header: %v", got)
	}
}
