package operator

import "testing"

func TestOnlyTheServerWarns(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]bool{
		"Warning: metadata.name: this is used in Pod names":                                  true,
		"deployment.apps/auth serverside-applied\nWarning: would violate PodSecurity":        true,
		`I1201 10:21:52 28987 reflector.go:664] "Warning: watch ended with error" err="..."`: false, // kubectl wait has ended a watch
		"": false,
	} {
		if warned.MatchString(said) != want {
			t.Errorf("%q is taken for a warning: %v", said, !want)
		}
	}
}
