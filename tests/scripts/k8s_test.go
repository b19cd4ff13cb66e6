package scripts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// kubectl records each call. A Job is seen running once before its end, which is in the
// environment variable of its service, or Complete.
const kubectl = `#!/bin/sh
echo "$*" >>calls
case "$*" in
*api-resources*) echo "$KEDA" ;;
*"get job"*)
    job=$5
    [ -e "seen-$job" ] || { touch "seen-$job"; exit 0; }
    eval "end=\$END_${job%%-*}"
    printf %s "${end:-SuccessCriteriaMet Complete}" ;;
*logs*) echo "the log of $4" ;;
esac
`

func afterRestore(t *testing.T, env ...string) (calls []string, output string, code int) {
	t.Helper()
	return runK8s(t, "after-restore", env...)
}

// runK8s runs a script of deploy/k8s and returns its calls of kubectl.
func runK8s(t *testing.T, name string, env ...string) (calls []string, output string, code int) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "path", "kubectl"), kubectl)
	script, err := filepath.Abs(filepath.Join(root, "deploy/k8s", name))
	must(t, err)
	output, code = run(t, dir, env, script)
	text, err := os.ReadFile(filepath.Join(dir, "calls"))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		calls = append(calls, strings.TrimPrefix(strings.TrimSpace(line), "-n lavka "))
	}
	return calls, output, code
}

func TestAfterRestoreStopsAllReplicasFirst(t *testing.T) {
	t.Parallel()
	calls, output, code := afterRestore(t)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, output)
	}
	first := func(part string) int {
		return slices.IndexFunc(calls, func(call string) bool { return strings.Contains(call, part) })
	}
	last := func(part string) int {
		i := first(part)
		for j := i; j < len(calls); j++ {
			if strings.Contains(calls[j], part) {
				i = j
			}
		}
		return i
	}
	if !(first("--replicas=0") >= 0 && last("--replicas=0") < first("--for=delete") && last("--for=delete") < first("create job") && last("get job") < first("--replicas=2")) {
		t.Errorf("the order is wrong:\n%s", strings.Join(calls, "\n"))
	}
	for _, service := range []string{"auth", "catalog", "billing"} {
		for _, call := range []string{
			"scale deployment/" + service + " --replicas=0",
			"create job " + service + "-after-restore --from=cronjob/" + service + "-after-restore",
			"scale deployment/" + service + " --replicas=2",
		} {
			if !slices.Contains(calls, call) {
				t.Errorf("not called: %s", call)
			}
		}
	}
	if first("scaledobject") >= 0 {
		t.Error("KEDA's objects were looked for, but KEDA is not there")
	}
}

func TestAfterRestorePausesKEDA(t *testing.T) {
	t.Parallel()
	calls, output, code := afterRestore(t, "KEDA=scaledobjects.keda.sh")
	pause := slices.Index(calls, "annotate scaledobject --all --overwrite autoscaling.keda.sh/paused-replicas=0")
	resume := slices.Index(calls, "annotate scaledobject --all autoscaling.keda.sh/paused-replicas-")
	down := slices.Index(calls, "scale deployment/auth --replicas=0")
	up := slices.Index(calls, "scale deployment/billing --replicas=2")
	if code != 0 || pause < 0 || pause > down || resume < up {
		t.Errorf("exit code %d:\n%s\n%s", code, output, strings.Join(calls, "\n"))
	}
}

func TestAfterRestoreLeavesReplicasDownIfItFails(t *testing.T) {
	t.Parallel()
	calls, output, code := afterRestore(t, "END_catalog=FailureTarget Failed")
	if code == 0 || slices.Contains(calls, "scale deployment/auth --replicas=2") {
		t.Errorf("exit code %d:\n%s", code, strings.Join(calls, "\n"))
	}
	for _, part := range []string{"the log of job/catalog-after-restore", "catalog-after-restore failed. The replicas stay down."} {
		if !strings.Contains(output, part) {
			t.Errorf("no %q in the output:\n%s", part, output)
		}
	}
}

func TestFinishGoesServiceByService(t *testing.T) {
	t.Parallel()
	calls, output, code := runK8s(t, "finish")
	at := func(call string) int { return slices.Index(calls, call) }
	previous := at("rollout status deployment/catalog --timeout=5m")
	for _, service := range []string{"auth", "billing", "catalog"} {
		create := at("create job " + service + "-finish --from=cronjob/" + service + "-finish")
		ended := slices.IndexFunc(calls, func(call string) bool { return strings.HasPrefix(call, "get job "+service+"-finish ") })
		if previous < 0 || create < previous || ended < create {
			t.Errorf("%s is finished at the wrong moment", service)
		}
		previous = ended
	}
	if code != 0 || t.Failed() {
		t.Errorf("exit code %d:\n%s\n%s", code, output, strings.Join(calls, "\n"))
	}
}

func TestFinishStopsAtAFailure(t *testing.T) {
	t.Parallel()
	calls, output, code := runK8s(t, "finish", "END_billing=FailureTarget Failed")
	started := slices.ContainsFunc(calls, func(call string) bool { return strings.HasPrefix(call, "create job catalog-finish") })
	if code == 0 || started || !strings.Contains(output, "the log of job/billing-finish") || !strings.Contains(output, "New kinds of rows stay closed in billing.") {
		t.Errorf("exit code %d, catalog started %v:\n%s", code, started, output)
	}
}
