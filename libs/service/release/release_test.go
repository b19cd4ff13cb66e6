package release

import "testing"

func TestVersion(t *testing.T) {
	if got := Version(); got == "" { // a test binary may or may not contain its commit
		t.Error("the version is empty")
	}
	version = "v1.2.3"
	t.Cleanup(func() { version = "" })
	if got := Version(); got != "v1.2.3" {
		t.Errorf("version is %s, want v1.2.3 as set by the linker", got)
	}
}
