package release

import "testing"

func TestVersion(t *testing.T) {
	if got := Version(); got == "" { // a test's binary may know its commit, or not
		t.Error("there is no version")
	}
	version = "v1.2.3"
	t.Cleanup(func() { version = "" })
	if got := Version(); got != "v1.2.3" {
		t.Errorf("what the linker was told is v1.2.3, and the version %s", got)
	}
}
