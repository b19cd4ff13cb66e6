package scripts

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestVulnerabilitiesFailAndAnAbsentDatabaseIsLoud(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says     string
		ends     int
		code     int
		didNot   bool
		lastRuns bool // in the last module
	}{
		{"No vulnerabilities found.", 0, 0, false, true},
		{"Vulnerability #1: GO-2026-1", 3, 1, false, false},
		{"Vulnerability #1: fetching vulnerabilities takes for ever", 3, 1, false, false},
		{"govulncheck: fetching vulnerabilities: dial tcp: no such host", 1, 0, true, false},
		{"govulncheck: loading packages: there are errors", 1, 1, false, false},
		{"", 124, 0, true, false},
	} {
		dir := checkout(t)
		write(t, filepath.Join(dir, "bin/govulncheck"), fmt.Sprintf("#!/bin/sh\necho \"$PWD\"\necho '%s'\nexit %d\n", c.says, c.ends))
		out, code := run(t, dir, nil, "bash", ".ci/run", "vulnerable")
		if code != c.code || !strings.Contains(out, c.says) || strings.Contains(out, "govulncheck DID NOT RUN") != c.didNot || strings.Contains(out, dir+"/tests\n") != c.lastRuns {
			t.Errorf("%q (%d): %d\n%s", c.says, c.ends, code, out)
		}
	}
}

func TestPostgresThatIsTooOldIsNone(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{
		"postgres (PostgreSQL) 14.19 (Debian 14.19-1)": 1,
		"postgres (PostgreSQL) 9.6.1":                  1,
		"postgres (PostgreSQL) 15.14":                  0,
		"postgres (PostgreSQL) 18beta1":                0,
		"sh: not found":                                1,
	} {
		dir := checkout(t)
		write(t, filepath.Join(dir, "pg/postgres"), "#!/bin/sh\necho '"+version+"'\n")
		if out, code := run(t, dir, nil, "bash", ".ci/run", "new_enough", "pg"); code != 1 {
			t.Errorf("%s without initdb will do: %s", version, out)
		}
		write(t, filepath.Join(dir, "pg/initdb"), "")
		if out, code := run(t, dir, nil, "bash", ".ci/run", "new_enough", "pg"); code != want {
			t.Errorf("%s: %d %s", version, code, out)
		}
	}
}
