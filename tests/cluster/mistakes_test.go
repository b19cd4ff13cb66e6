package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// mistake is a change of a file below deploy/, and what the API server must say about it.
type mistake struct{ file, old, new, told string }

const deployment, gateway, postgres = "k8s/base/common/deployment.yaml", "k8s/components/gateway/", "k8s/components/postgres/cluster.yaml"

// mistakes are all made at once, in the overlay production. Each belongs to another object or is told by its own text.
var mistakes = []mistake{
	{deployment, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", `Warning: would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "service"`},
	{"k8s/base/auth/migrate.yaml", "name: auth-migrate\n", "name: auth-migrate.v1\n", "Warning: metadata.name: this is used in Pod names and hostnames"},
	{"k8s/base/common/verify.yaml", "timeZone: Etc/UTC", "timeZone: Etc/Utopia", "unknown time zone Etc/Utopia"},
	{"k8s/base/common/after-restore.yaml", "backoffLimit:", "backoffLimits:", ".spec.jobTemplate.spec.backoffLimits: field not declared in schema"},
	{"k8s/base/common/finish.yaml", "limits: { cpu: \"1\", memory: 128Mi }", "limits: { cpu: \"1\", memory: 64Mi }", "must be less than or equal to memory limit of 64Mi"},
	{"k8s/base/auth/scaling.yaml", "maxReplicas: 6", "maxReplicas: 6\n  minReplica: 2", ".spec.minReplica: field not declared in schema"},
	{"k8s/base/network.yaml", "protocol: UDP, port: 53", "protocol: UDP, port: 530000", "must be between 1 and 65535"},
	{"k8s/base/billing/services.yaml", "port: 8080, targetPort: http", "port: 8080, targetPort: https_", `Service "billing" is invalid`},
	{gateway + "routes.yaml", "request: 0s", "request: forever", `Invalid value: "forever"`},
	{gateway + "limits.yaml", "unit: Second", "unit: Moment", `Unsupported value: "Moment"`},
	{postgres, "instances: 3", "instances: 0", "spec.instances: Invalid value: 0"},
	{postgres, "retentionPolicy: 30d", "retentionPolicy: a month", `Invalid value: "a month"`},
	{"k8s/components/autoscaling/billing.yaml", "pollingInterval: 10", "pollingInterval: often", ".spec.pollingInterval: expected numeric"},
	{"k8s/components/monitoring/rules.yaml", "for: 15m", "for: a while", `Invalid value: "a while"`},
	{"k8s/components/external-secrets/secrets.yaml", "kind: ClusterSecretStore", "kind: SecretStores", `Unsupported value: "SecretStores"`},
}

func TestMistakesAreRefused(t *testing.T) {
	ctx := t.Context()
	c, err := newCluster(ctx, "../..")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.remove(); err != nil {
			t.Error(err)
		}
	})
	run := &trial{c}
	copied := func(t *testing.T) {
		t.Helper()
		if err := run.fresh(); err != nil {
			t.Fatal(err)
		}
	}
	change := func(t *testing.T, m mistake) {
		t.Helper()
		if err := run.replace(m.file, m.old, m.new); err != nil {
			t.Fatal(err)
		}
	}
	told := func(t *testing.T, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("told was %v\nand should be %s", err, want)
		}
	}

	t.Run("what the API server refuses, or warns of", func(t *testing.T) {
		copied(t)
		if _, err := run.Kubectl(ctx, "apply", "--server-side", "-f", filepath.Join(run.Deploy, "k8s/base/namespace.yaml")); err != nil {
			t.Fatal(err)
		}
		if out, err := run.Apply(ctx, "production", "--dry-run=server"); err != nil {
			t.Fatalf("without a mistake: %v\n%s", err, out)
		}
		for _, m := range mistakes {
			change(t, m)
		}
		_, err := run.Apply(ctx, "production", "--dry-run=server")
		for _, m := range mistakes {
			told(t, err, m.told)
		}
	})

	t.Run("secrets before their namespace", func(t *testing.T) {
		if err := run.uninstall(ctx, ""); err != nil {
			t.Fatal(err)
		}
		told(t, run.ApplyText(ctx, []byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"auth","namespace":"lavka"}}`)), `namespaces "lavka" not found`)
	})

	t.Run("a Job without a hash", func(t *testing.T) {
		copied(t)
		change(t, mistake{file: "k8s/base/common/migrate.yaml", old: "needsHashSuffix: enabled", new: "needsHashSuffix: disabled"})
		if err := run.install(ctx, "dev"); err != nil {
			t.Fatal(err)
		}
		told(t, run.changeJob(ctx, "dev"), "field is immutable")
	})

	t.Run("what differs from the overlay", func(t *testing.T) {
		copied(t)
		if _, err := run.Apply(ctx, "dev"); err != nil {
			t.Fatal(err)
		}
		if err := run.unchanged(ctx, "dev"); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Kubectl(ctx, "-n", "lavka", "set", "image", "deployment/catalog", "service=lavka-catalog:other"); err != nil {
			t.Fatal(err)
		}
		told(t, run.unchanged(ctx, "dev"), `conflict with "kubectl-set"`)
	})

	t.Run("an object for Argo CD or Flux", func(t *testing.T) {
		copied(t)
		change(t, mistake{file: "k8s/gitops/argocd.yaml", old: "selfHeal:", new: "selfHealing:"})
		change(t, mistake{file: "k8s/gitops/flux.yaml", old: "deletionPolicy: Orphan", new: "deletionPolicy: Keep"})
		err := run.gitops(ctx)
		told(t, err, ".spec.syncPolicy.automated.selfHealing: field not declared in schema")
		told(t, err, `Unsupported value: "Keep"`)
	})

	t.Run("a Pod that is refused", func(t *testing.T) {
		copied(t)
		change(t, mistake{file: deployment, old: "allowPrivilegeEscalation: false", new: "allowPrivilegeEscalation: true"})
		_, err := run.Apply(ctx, "dev")
		told(t, err, "would violate PodSecurity")
		run.Patience = 5 * time.Second
		_, err = run.Await(ctx, nil)
		told(t, err, "Deployment auth has no Pods")
		told(t, err, "FailedCreate")
	})
}

// What tests/k8s decodes and what the API server accepts is of the same version.
func TestDefinitionsAreThoseOfTheTypes(t *testing.T) {
	t.Parallel()
	types, definitions := required(t, "../k8s/go.mod"), required(t, "crds/go.mod")
	same := 0
	for module, version := range definitions {
		switch types[module] {
		case version:
			same++
		case "": // its types can't be built beside the others
		default:
			t.Errorf("crds/go.mod requires %s %s, and tests/k8s/go.mod %s", module, version, types[module])
		}
	}
	if same < 5 {
		t.Errorf("only %d modules are in both", same)
	}
}

var requirement = regexp.MustCompile(`(?m)^\t(\S+) (v\S+)`)

func required(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, m := range requirement.FindAllStringSubmatch(string(text), -1) {
		versions[m[1]] = m[2]
	}
	return versions
}
