package scripts

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// images is the step in the background.
const images = "container images"

// steps are the steps of a full run, in order. A step may be added or replaced, but none may get lost.
var steps = []string{
	"PostgreSQL's server programs", "C compiler", "tools", "alert rules", "generated code is up to date",
	images, // in the background, beside those that follow
	"gofmt", "vet", "staticcheck", "spelling and phrases", "each module builds alone", "modules are sound", "govulncheck", "Kubernetes", "Kubernetes is built", "compiled for the tests", "fuzz",
	"containers", "manifests on a cluster", "tests", "faults, each once, and mutants", "benchmark, short",
}

// programs makes stand-ins for everything that .ci/run starts. Each appends its name and arguments to the file log, and fails if they are those in $FAILS.
func programs(t *testing.T, dir string) {
	t.Helper()
	stub := "#!/bin/sh\nwhat=\"$(basename $0) $*\"\necho \"$what\"; echo \"$what\" >>'" + filepath.Join(dir, "..", "log") + "'\n[ \"$what\" != \"$FAILS\" ]\n"
	for _, name := range []string{"path/go", "path/make", "path/docker", "bin/staticcheck", "bin/misspell", "bin/govulncheck"} {
		write(t, filepath.Join(dir, name), stub)
	}
	write(t, filepath.Join(dir, "path/gofmt"), "#!/bin/sh\n")
	write(t, filepath.Join(dir, "path/renice"), "#!/bin/sh\n") // at the lowest priority, these tests would take minutes beside others
	write(t, filepath.Join(dir, "path/postgres"), "#!/bin/sh\necho 'postgres (PostgreSQL) '${POSTGRES:-15.18}\n")
	write(t, filepath.Join(dir, "path/initdb"), "")
}

// repository returns a checkout whose files are committed, with stand-ins for all programs.
func repository(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lavka")
	must(t, os.Rename(checkout(t), dir))
	programs(t, dir)
	for _, outside := range []string{"tests/k8s", "tests/cluster/kubernetes", "tests/cluster/nodes/pause", "tools"} {
		must(t, os.MkdirAll(filepath.Join(dir, outside), 0o755))
	}
	write(t, filepath.Join(dir, "README.md"), "# Lavka\n")
	write(t, filepath.Join(dir, "docs/picture.svg"), "<svg/>\n")
	write(t, filepath.Join(dir, "libs/a.go"), "package a\n")
	write(t, filepath.Join(dir, ".gitignore"), "/bin/\n/path/\n")
	git(t, dir, "init", "-q")
	commit(t, dir)
	return dir
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	args = append([]string{"-c", "user.name=test", "-c", "user.email=test@lavka.example", "-c", "safe.directory=*"}, args...)
	if out, code := run(t, dir, nil, "git", args...); code != 0 {
		t.Fatalf("git %v: %s", args, out)
	}
}

func commit(t *testing.T, dir string) {
	t.Helper()
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "a change")
}

func TestEveryStepRunsAndAnyFailureFails(t *testing.T) {
	t.Parallel()
	dir := repository(t)
	cache := "XDG_CACHE_HOME=" + t.TempDir()
	out, code := run(t, dir, []string{cache, "FULL=1"}, "bash", ".ci/run")
	if code != 0 {
		t.Fatalf("%d\n%s", code, out)
	}
	var ended []string
	for _, m := range regexp.MustCompile(`(?m)^--- (.+): \d+ s`).FindAllStringSubmatch(out, -1) {
		ended = append(ended, m[1])
	}
	// It is shown where the script waits for it.
	want := slices.DeleteFunc(slices.Clone(steps), func(s string) bool { return s == images })
	want = slices.Insert(want, slices.Index(want, "containers"), images)
	if !slices.Equal(ended, want) {
		t.Errorf("these steps ran: %q\nand these should: %q", ended, want)
	}

	text, err := os.ReadFile(filepath.Join(dir, "..", "log"))
	must(t, err)
	commands := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, must := range []string{
		"make --no-print-directory test", "make --no-print-directory faults MUTANTS=1", "make --no-print-directory bench SHORT=1", "make --no-print-directory compose-check BUILD=1", "make --no-print-directory compose-check",
		"make --no-print-directory fuzz TIME=10000x", "make --no-print-directory k8s-check", "make --no-print-directory cluster-check", "make --no-print-directory rules", "make --no-print-directory generate",
	} {
		if !slices.Contains(commands, must) {
			t.Errorf("%s was not run", must)
		}
	}
	slices.Sort(commands)
	for _, command := range slices.Compact(commands) {
		if name, _, _ := strings.Cut(command, " "); slices.Contains([]string{"docker", "govulncheck"}, name) || command == "go version" {
			continue // govulncheck has a test of its own, and the others only describe the machine
		}
		out, code := run(t, dir, []string{cache, "FULL=1", "FAILS=" + command}, "bash", ".ci/run")
		if last := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]; code == 0 || !strings.Contains(last, ": FAILED after ") {
			t.Errorf("%s fails, and yet: %d\n%s", command, code, out)
		}
	}
}

func TestAFailedStepEndsWhatRunsInTheBackground(t *testing.T) {
	t.Parallel()
	dir := repository(t)
	write(t, filepath.Join(dir, "path/make"), "#!/bin/sh\ncase $* in *compose-check*BUILD=1) echo up; trap 'echo taken down; exit 1' TERM; sleep 50 & wait;; esac\n")
	out, code := run(t, dir, []string{"XDG_CACHE_HOME=" + t.TempDir(), "FAILS=staticcheck ./libs/... ./services/auth/... ./services/billing/... ./services/catalog/... ./deploy/... ./tests/..."}, "bash", ".ci/run")
	if code != 1 || !strings.Contains(out, "up\ntaken down\n--- staticcheck: FAILED") {
		t.Errorf("%d\n%s", code, out)
	}
}

// If a full run of the same code has passed on this machine, only the documents are checked. In all other cases everything is.
func TestOnlyDocumentsAreCheckedWhereTheCodeHasPassed(t *testing.T) {
	t.Parallel()
	dir := repository(t)
	cache := t.TempDir()
	env := []string{"XDG_CACHE_HOME=" + cache}
	try := func(what string, all bool, more ...string) {
		t.Helper()
		out, code := run(t, dir, append(slices.Clone(env), more...), "bash", ".ci/run")
		short := strings.Contains(out, "ONLY THE DOCUMENTS ARE CHECKED")
		if tested := strings.Contains(out, "--- benchmark, short"); short == all || tested != all {
			t.Errorf("%s: %d\n%s", what, code, out)
		}
	}
	change := func(file, text string) {
		t.Helper()
		write(t, filepath.Join(dir, file), text)
		commit(t, dir)
	}
	try("a new machine, where the last step fails", true, "FAILS=make --no-print-directory bench SHORT=1")
	try("nothing has passed yet", true)
	change("README.md", "# Lavka!\n")
	change("docs/adr/0001-new.md", "# New\n")
	change("docs/picture.svg", "<svg></svg>\n")
	change("LICENSE", "a licence\n")
	change("libs/README.md", "# Libraries\n")
	try("documents have changed", false)
	try("all is asked for", true, "FULL=1")
	try("another PostgreSQL", true, "POSTGRES=16.1")
	write(t, filepath.Join(dir, "libs/b.go"), "package a\n")
	try("a file is not committed", true)
	commit(t, dir)
	try("a file was added", true)
	try("and has passed", false)
	git(t, dir, "mv", "libs/b.go", "libs/c.go")
	commit(t, dir)
	try("a file was renamed", true)
	for _, file := range []string{"Makefile", ".ci/run", "Dockerfile", "deploy/docs.yaml", "libs/docs/a.sql"} {
		text, _ := os.ReadFile(filepath.Join(dir, file))
		change(file, string(text)+"\n# changed\n")
		try(file, true)
	}
	try("all of that has passed", false)
	records, err := filepath.Glob(filepath.Join(cache, "lavka-ci/passed-*"))
	must(t, err)
	for _, record := range records {
		old := time.Now().AddDate(0, 0, -9)
		must(t, os.Chtimes(record, old, old))
	}
	try("that was long ago", true)
	must(t, os.Rename(filepath.Join(dir, ".git"), filepath.Join(dir, ".no-git")))
	if out, _ := run(t, dir, env, "bash", ".ci/run"); strings.Contains(out, "ONLY THE DOCUMENTS") {
		t.Errorf("without git: %s", out)
	}
}

// The record is a file of the repository: a new machine has no other. It holds until a manifest changes.
func TestManifestsThatHavePassedAreNotAppliedAgain(t *testing.T) {
	t.Parallel()
	dir := repository(t)
	try := func(what string, applied bool, more ...string) {
		t.Helper()
		out, code := run(t, dir, append([]string{"XDG_CACHE_HOME=" + t.TempDir()}, more...), "bash", ".ci/run")
		said, built, ran := strings.Contains(out, "NOT APPLIED AGAIN"), strings.Contains(out, "go run . -build"), strings.Contains(out, "make --no-print-directory cluster-check")
		if code != 0 || said == applied || built != applied || ran != applied {
			t.Errorf("%s: %d\n%s", what, code, out)
		}
	}
	manifest, record := filepath.Join(dir, "deploy/k8s/a.yaml"), filepath.Join(dir, "tests/cluster/passed")
	write(t, manifest, "a: 1\n")
	try("nothing is recorded", true)
	hash, _ := run(t, dir, nil, "bash", ".ci/run", "cluster_hash")
	write(t, record, hash)
	try("it is", false)
	write(t, filepath.Join(dir, "libs/a.go"), "package b\n")
	try("something else has changed", false)
	try("all is asked for", true, "FULL=1")
	write(t, manifest, "a: 2\n")
	try("a manifest has changed", true)
}

// Every test that reads a document must run when only documents have changed.
func TestDocumentsAreCheckedByAllThatReadThem(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, ".ci/run"))
	must(t, err)
	_, documented, _ := strings.Cut(string(text), "\ndocumented() {")
	documented, _, _ = strings.Cut(documented, "\n}")
	for _, m := range regexp.MustCompile(`PKG=(\S+) RUN='\^(\w+)\$'`).FindAllStringSubmatch(documented, -1) {
		found := false
		files, err := filepath.Glob(filepath.Join(root, m[1], "*_test.go"))
		must(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			must(t, err)
			found = found || strings.Contains(string(source), "\nfunc "+m[2]+"(")
		}
		if !found {
			t.Errorf(".ci/run runs %s of %s, which is not there", m[2], m[1])
		}
	}
	reads := regexp.MustCompile(`"(?:[^"\s]*/)?(?:docs/[^"\s]+|[^"\s/*]+\.md|README\S*)"`)
	runs := map[string]string{"tests/docs": "./tests/docs", "tests/observability": "./tests/observability", "tests/scripts": "./tests/scripts", "tests/k8s": "kubernetes"}
	seen := 0
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil || !reads.Match(source) {
			return err
		}
		folder, _ := filepath.Rel(root, filepath.Dir(path))
		// The first writes docs/benchmarks.md. The second tries the connections of docs/architecture.md on a node; tests/k8s compares them with the policies.
		if folder == "tests/bench" || folder == "tests/cluster" {
			return nil
		}
		seen++
		if by := runs[folder]; by == "" || !strings.Contains(documented, by) {
			t.Errorf("%s reads a document, and documented() in .ci/run does not run it: %s", path, reads.Find(source))
		}
		return nil
	}))
	// tests/e2e reads documents through tests/observability.
	if seen < 4 || !strings.Contains(documented, "PKG=./tests/e2e RUN='^TestWatchedMetricsExist$'") {
		t.Errorf("only %d files read documents, or the metrics are not held against them", seen)
	}
}

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
		{"Vulnerability #1: fetching vulnerabilities takes forever", 3, 1, false, false},
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
