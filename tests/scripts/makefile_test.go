package scripts

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// make help lists every target with "##".
func TestHelpListsEveryTarget(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	text, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	must(t, err)
	out, code := run(t, dir, nil, "make", "help")
	targets := regexp.MustCompile(`(?m)^([^\s:#]+):.*## (.+)$`).FindAllStringSubmatch(string(text), -1)
	for _, m := range targets {
		if !regexp.MustCompile(`(?m)^  make ` + regexp.QuoteMeta(m[1]) + ` +` + regexp.QuoteMeta(m[2]) + `$`).MatchString(out) {
			t.Errorf("make help does not list %s: %s", m[1], m[2])
		}
	}
	if code != 0 || len(targets) < 15 || strings.Count(out, "\n") != len(targets) {
		t.Errorf("%d, %d targets, and the list\n%s", code, len(targets), out)
	}
}

func TestTopUpIsForTheUserOnTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	write(t, filepath.Join(dir, "bin/lavka"), "#!/bin/sh\necho \"$@\"\n")
	for _, c := range []struct {
		env, args []string
		want      string
	}{
		{[]string{"USER=root"}, []string{"USER=7", "BILL=2", "AMOUNT=9.99"}, "topup --user 7 --bill 2 --amount 9.99"},
		{[]string{"USER=7"}, []string{"BILL=2", "AMOUNT=100"}, "topup --user  --bill 2 --amount 100"},
	} {
		if out, code := run(t, dir, c.env, "make", append([]string{"topup"}, c.args...)...); code != 0 || strings.TrimSpace(out) != c.want {
			t.Errorf("%v make topup %v: %d, %q, want %q", c.env, c.args, code, out, c.want)
		}
	}
}

func TestLauncherIsCalledWithWhatIsOnTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	write(t, filepath.Join(dir, "bin/lavka"), "#!/bin/sh\necho \"$@\" ${ADMIN_PASSWORD_FILE:+with $ADMIN_PASSWORD_FILE}\n[ \"$3\" != unknown ]\n")
	write(t, filepath.Join(dir, "path/go"), "#!/bin/sh\necho \"go ${PWD#"+dir+"/}: $*\"\n")
	for call, want := range map[string]string{
		"trace":                  "trace\n",
		"trace ID=6ebc":          "trace 6ebc\n",
		"trace PURCHASE=01a2":    "trace --purchase 01a2\n",
		"seed":                   "seed\n",
		"seed SHOP=http://there": "seed --url http://there with secrets/admin-password\n",
		"demo SHOP=http://there": "demo --url http://there with secrets/admin-password\n",
		"restart S=auth":         "restart --check auth\nbuilding bin/auth\ngo services/auth: build -trimpath -buildvcs=false -o ../../bin/auth .\nrestart auth\n",
		"restart S=unknown":      "restart --check unknown\n",
	} {
		out, code := run(t, dir, nil, "make", strings.Fields(call)...)
		out = strings.NewReplacer("-buildvcs=auto", "-buildvcs=false", dir+"/", "").Replace(strings.Split(out, "make:")[0])
		if out != want || (code == 0) == strings.Contains(call, "unknown") {
			t.Errorf("make %s: %d, %q, want %q", call, code, out, want)
		}
	}
	if out, _ := run(t, dir, nil, "make", "run", "WITHOUT=auth,billing"); !strings.HasSuffix(out, "\nrun --without auth,billing\n") {
		t.Errorf("make run: %s", out)
	}
}

func TestCleanAsksTheLauncher(t *testing.T) {
	t.Parallel()
	const noGo = "#!/bin/sh\necho go \"$@\"\nexit 1\n"
	for name, c := range map[string]struct {
		files map[string]string
		code  int
		say   string
		left  bool // is bin/ there afterwards?
	}{
		"nothing there":                   {},
		"data that is not a shop's":       {files: map[string]string{".lavka/thesis.tex": "", "bin/staticcheck": ""}},
		"a shop's data and no launcher":   {files: map[string]string{".lavka/lock": "", "bin/auth": ""}, code: 2, say: "go build", left: true},
		"binaries that are not in use":    {files: map[string]string{"bin/lavka": "#!/bin/sh\n"}},
		"a shop runs from these binaries": {files: map[string]string{"bin/lavka": "#!/bin/sh\necho a shop runs from them\nexit 1\n"}, code: 2, say: "a shop runs from them", left: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := checkout(t)
			write(t, filepath.Join(dir, "path/go"), noGo)
			for file, text := range c.files {
				write(t, filepath.Join(dir, file), text)
			}
			out, code := run(t, dir, nil, "make", "clean")
			if code != c.code || !strings.Contains(out, c.say) || c.say == "" && out != "" {
				t.Errorf("%d, %q", code, out)
			}
			if exists(t, filepath.Join(dir, "bin")) != c.left {
				t.Error("bin/ is there, or not, against the rule")
			}
		})
	}
}

func TestCompilerIsBroughtForTheRaceDetector(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	write(t, filepath.Join(dir, "path/go"), "#!/bin/sh\n[ \"$*\" = 'env CC' ] && echo absent-cc -m64\nexit 0\n")
	if out, code := run(t, dir, nil, "make", "test"); code == 0 || !strings.Contains(out, "apt-get update -q") || !strings.Contains(out, "install a C compiler") {
		t.Errorf("%d, %s", code, out)
	}
	write(t, filepath.Join(dir, "path/absent-cc"), "#!/bin/sh\n")
	if out, code := run(t, dir, nil, "make", "test"); code != 0 || strings.Contains(out, "apt-get") {
		t.Errorf("there is a compiler, and yet: %d, %s", code, out)
	}
}

// Without PKG every package of every module is tested in one go, and no result comes from the cache.
func TestEveryModuleIsTested(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	write(t, filepath.Join(dir, "path/go"), "#!/bin/sh\n[ \"$*\" = 'env CC' ] && echo sh && exit\necho \"$PWD: $*\"\n[ -z \"$FAILS\" ]\n")
	const all = "./tests/... ./libs/... ./services/auth/... ./services/billing/... ./services/catalog/... ./deploy/..."
	for _, m := range modules {
		if !strings.Contains(all+" ", "./"+m+"/... ") {
			t.Errorf("this test does not expect %s", m)
		}
	}
	for _, c := range []struct {
		env, args []string
		want      string
	}{
		{nil, nil, "-count=1 " + all},
		{[]string{"PKG=./libs/domain", "RUN=TestX"}, nil, "-count=1 " + all},
		{nil, []string{"RUN=TestX"}, "-count=1 -run TestX " + all},
		{nil, []string{"PKG=./services/billing/..."}, "./services/billing/..."},
		{nil, []string{"PKG=./services/billing/... ./libs/domain/money", "RUN=TestX|TestY"}, "-run TestX|TestY ./services/billing/... ./libs/domain/money"},
		{nil, []string{"PKG=./tests/e2e", "RUN=^TestX$"}, "-count=1 -run ^TestX$ ./tests/e2e"},
	} {
		out, code := run(t, dir, c.env, "make", append([]string{"test"}, c.args...)...)
		if want := dir + ": test -race -parallel 4 -timeout 20m " + c.want + "\n"; code != 0 || out != want {
			t.Errorf("%v make test %q: %d\n%swant\n%s", c.env, c.args, code, out, want)
		}
	}
	if out, code := run(t, dir, []string{"FAILS=1"}, "make", "test"); code == 0 {
		t.Errorf("a test fails, and yet: %s", out)
	}
}

func TestRulesAreTestedWithThePromtoolThatIsThere(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	write(t, filepath.Join(dir, "deploy/observability/rules/tests/a.yaml"), "")
	write(t, filepath.Join(dir, "path/promtool"), "#!/bin/sh\necho \"$*\"\n[ \"$1\" != \"$FAILS\" ]\n")
	const check, test = "check config --lint=all --lint-fatal prometheus.yaml\n", "test rules rules/tests/a.yaml\n"
	for fails, want := range map[string]string{"": check + test, "check": check, "test": check + test} {
		if out, code := run(t, dir, []string{"FAILS=" + fails}, "make", "rules"); (code == 0) != (fails == "") || strings.Split(out, "make:")[0] != want {
			t.Errorf("%q fails: %d, %s", fails, code, out)
		}
	}
}

// Every fuzz test of every module is found, and one that does not compile or that fails ends the search.
func TestEveryFuzzTestIsRun(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	// What is compiled is a script that prints its arguments.
	write(t, filepath.Join(dir, "path/go"), "#!/bin/sh\n[ \"$1\" != env ] || exec echo /cache\necho \"${PWD#"+dir+"/}: $1 $2 $3 $4\"\ncase $PWD in */d) exit 1; esac\n"+
		"while [ \"$1\" != -o ]; do shift; done\nprintf '#!/bin/sh\\necho \"${PWD#"+dir+"/}: $*\"\\ncase $PWD in */c) exit 1; esac\\n' >\"$2\"\nchmod +x \"$2\"\n")
	write(t, filepath.Join(dir, "libs/a/x_test.go"), "func FuzzOne(f *testing.F) {\nfunc FuzzTwo_2(f *testing.F) {\nfunc TestFuzz(t *testing.T) {\n// func FuzzNot\n")
	write(t, filepath.Join(dir, "libs/a/x.go"), "func FuzzNone() {\n")
	write(t, filepath.Join(dir, "services/auth/internal/b/b_test.go"), "func FuzzOne(f *testing.F) {\n")
	compiled := func(dir string) string { return dir + ": test -c -fuzz .\n" }
	fuzz := func(dir, name, time string) string {
		return "== " + dir + " " + name + "\n" + dir + ": -test.run ^$ -test.fuzz ^" + name + "$ -test.fuzztime " + time + " -test.fuzzcachedir /cache/fuzz/lavka/" + dir + "\n"
	}
	out, code := run(t, dir, []string{"TIME=of the day"}, "make", "fuzz")
	a, b := compiled("libs/a")+fuzz("libs/a", "FuzzOne", "30s")+fuzz("libs/a", "FuzzTwo_2", "30s"), compiled("services/auth/internal/b")+fuzz("services/auth/internal/b", "FuzzOne", "30s")
	if code != 0 || out != a+b {
		t.Errorf("%d, %s\nwant\n%s", code, out, a+b)
	}
	write(t, filepath.Join(dir, "libs/c/c_test.go"), "func FuzzFails(f *testing.F) {\n")
	if out, code := run(t, dir, nil, "make", "fuzz", "TIME=3s"); code == 0 || !strings.HasSuffix(strings.Split(out, "make:")[0], fuzz("libs/c", "FuzzFails", "3s")) {
		t.Errorf("one fails, and yet: %d, %s", code, out)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "libs/c")))
	write(t, filepath.Join(dir, "libs/d/d_test.go"), "func FuzzBroken(f *testing.F) {\n")
	if out, code := run(t, dir, nil, "make", "fuzz"); code == 0 || !strings.HasSuffix(strings.Split(out, "make:")[0], compiled("libs/d")) {
		t.Errorf("one does not compile, and yet: %d, %s", code, out)
	}
}
