package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const root = "../.."

// The rules are about every service there is.
func TestTheListOfServicesIsComplete(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join(root, "services"))
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, e := range entries {
		folders = append(folders, e.Name())
	}
	listed := slices.Sorted(slices.Values(services))
	if !slices.Equal(folders, listed) {
		t.Errorf("services/ holds %v, the rules list %v", folders, listed)
	}
	for _, service := range services {
		if sessionsOf[service] == 0 {
			t.Errorf("sessionsOf says nothing about %s: its sessions are not counted", service)
		}
		if len(needed[service]) == 0 {
			t.Errorf("needed says nothing about %s: its settings are not checked", service)
		}
	}
}

func rendered(t *testing.T, overlay string) *objects {
	t.Helper()
	o, err := render(root, overlay)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOverlaysKeepTheRules(t *testing.T) {
	t.Parallel()
	for _, overlay := range overlays {
		o := rendered(t, overlay)
		if len(o.all) < 30 {
			t.Errorf("%s has only %d objects", overlay, len(o.all))
		}
		for _, r := range rules(root) {
			for _, what := range r.broken(o) {
				t.Errorf("%s: %s: %s", overlay, r.name, what)
			}
		}
	}
}

// mistake is a deliberate mistake, and the text that must report it.
type mistake struct {
	rule string
	make func(*objects)
	told string
}

// at is the replica container of a service.
func at(o *objects, service string) *core.Container {
	d, _ := find(o.deployments, service)
	return container(&d.Spec.Template.Spec)
}

// settingIn is one of its settings.
func settingIn(o *objects, service, name string) *core.EnvVar {
	c := at(o, service)
	return &c.Env[slices.IndexFunc(c.Env, func(e core.EnvVar) bool { return e.Name == name })]
}

// cron is a CronJob.
func cron(o *objects, name string) *batch.CronJob {
	c, _ := find(o.cronJobs, name)
	return c
}

// comparing is what billing-compare starts.
func comparing(o *objects) *core.PodSpec {
	return &cron(o, "billing-compare").Spec.JobTemplate.Spec.Template.Spec
}

func volume(spec *core.PodSpec, name string) *core.Volume {
	return &spec.Volumes[slices.IndexFunc(spec.Volumes, func(v core.Volume) bool { return v.Name == name })]
}

func networkPolicy(o *objects, name string) *networking.NetworkPolicy {
	n, _ := find(o.network, name)
	return n
}

var mistakes = []mistake{
	{"everything is in the namespace", func(o *objects) { o.services[0].Namespace = "default" }, `is in the namespace "default"`},
	{"the namespace and every Pod keep to the restricted standard", func(o *objects) { o.namespaces[0].Labels["pod-security.kubernetes.io/enforce"] = "baseline" }, "does not enforce it"},
	{"the namespace and every Pod keep to the restricted standard", func(o *objects) { at(o, "auth").SecurityContext.AllowPrivilegeEscalation = new(true) }, "Deployment auth would be refused"},
	{"the namespace and every Pod keep to the restricted standard", func(o *objects) { at(o, "auth").SecurityContext.ReadOnlyRootFilesystem = nil }, "Deployment auth can write to its own files"},
	{"no Pod has a token of Kubernetes", func(o *objects) { o.deployments[0].Spec.Template.Spec.AutomountServiceAccountToken = nil }, "is given a token"},
	{"no Pod has a token of Kubernetes", func(o *objects) { o.accounts[0].AutomountServiceAccountToken = new(true) }, "hands out tokens"},
	{"selectors match", func(o *objects) { o.deployments[0].Spec.Template.Labels[component] = "servers" }, "does not select its own Pods"},
	{"selectors match", func(o *objects) {
		o.deployments[0].Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels[component] = "x"
	}, "spreads other Pods"},
	{"selectors match", func(o *objects) { delete(o.budgets[0].Spec.Selector.MatchLabels, "app.kubernetes.io/name") }, "PodDisruptionBudget auth is for [Deployment auth Deployment catalog Deployment billing]"},
	{"selectors match", func(o *objects) { networkPolicy(o, "to-nats").Spec.PodSelector.MatchLabels[component] = "severs" }, "NetworkPolicy to-nats is for no Pods"},
	{"Services lead to replicas, by ports that are open", func(o *objects) {
		s, _ := find(o.services, "billing")
		delete(s.Spec.Selector, component)
	}, "Service billing leads to 6 workloads"},
	{"Services lead to replicas, by ports that are open", func(o *objects) {
		s, _ := find(o.services, "billing")
		s.Spec.Ports[0].TargetPort = intstr.FromString("https")
	}, "Service billing leads to port https of Deployment billing, which no container has"},
	{"probes ask what answers", func(o *objects) { at(o, "catalog").ReadinessProbe.HTTPGet.Port = intstr.FromString("http") }, "the readiness probe of Deployment catalog"},
	{"probes ask what answers", func(o *objects) { at(o, "catalog").LivenessProbe.HTTPGet.Path = "/readyz" }, "the liveness probe of Deployment catalog"},
	{"probes ask what answers", func(o *objects) { at(o, "catalog").Ports[1].ContainerPort = 9091 }, "has no port internal at 9090"},
	{"settings are those of the services", func(o *objects) { o.configMaps[0].Data["LOGLEVEL"] = "info" }, "LOGLEVEL, which services/auth/config.go does not read"},
	{"settings are those of the services", func(o *objects) { o.configMaps[0].Data["ADMIN_PASSWORD"] = "hunter2" }, "is a secret (h…)"},
	{"settings are those of the services", func(o *objects) { settingIn(o, "billing", "DATABASE_URL_FILE").Name = "DATABASE_FILE" }, "does not set DATABASE_URL_FILE"},
	{"settings are those of the services", func(o *objects) {
		settingIn(o, "billing", "PAYMENT_PRIVATE_KEYS_FILE").Value = "/run/secrets/lavka/payment-key"
	}, "/run/secrets/lavka/payment-key, which no volume brings"},
	{"ConfigMaps have hashed names", func(o *objects) { at(o, "auth").EnvFrom[0].ConfigMapRef.Name = "auth" }, "ConfigMap auth, whose name does not change"},
	{"secrets come from somewhere", func(o *objects) { o.deployments[0].Spec.Template.Spec.Volumes[0].Secret.SecretName = "auht" }, "needs Secret auht, which nothing creates"},
	{"secrets come from somewhere", func(o *objects) { o.secrets[0].Spec.Data[0].SecretKey = "url" }, "add it in components/external-secrets"},
	{"secrets come from somewhere", func(o *objects) { o.clusters[0].Spec.Managed.Roles[0].PasswordSecret.Name = "postgres-x" }, "needs Secret postgres-x"},
	{"images are those that are built, with a release", func(o *objects) { at(o, "billing").Image = "registry.example/lavka-billing:latest" }, "of no release"},
	{"images are those that are built, with a release", func(o *objects) { at(o, "billing").Image = "registry.example/lavka-catalog:v1" }, "should run lavka-billing"},
	{"resources are set, and Go knows its limit", func(o *objects) { delete(at(o, "auth").Resources.Limits, core.ResourceMemory) }, "does not say how much it needs"},
	{"resources are set, and Go knows its limit", func(o *objects) { at(o, "auth").Resources.Requests[core.ResourceMemory] = resource.MustParse("64Mi") }, "and be killed for it"},
	{"resources are set, and Go knows its limit", func(o *objects) {
		for _, list := range []core.ResourceList{at(o, "auth").Resources.Requests, at(o, "auth").Resources.Limits} {
			list[core.ResourceMemory] = resource.MustParse("1Gi")
		}
	}, "has GOMEMLIMIT=435MiB and a limit of 1Gi"},
	{"resources are set, and Go knows its limit", func(o *objects) {
		cron(o, "billing-verify").Spec.JobTemplate.Spec.Template.Spec.Containers[0].Env = nil
	}, "CronJob billing-verify has GOMEMLIMIT= and a limit of 128Mi"},
	{"resources are set, and Go knows its limit", func(o *objects) { o.jobs[0].Spec.Template.Spec.Containers[0].Env = nil }, "has GOMEMLIMIT= and a limit of 128Mi"},
	{"replicas are replaced without a gap", func(o *objects) { *o.deployments[0].Spec.Strategy.RollingUpdate.MaxUnavailable = intstr.FromInt32(1) }, "before the new one is ready"},
	{"replicas are replaced without a gap", func(o *objects) { o.deployments[0].Spec.Template.Spec.TopologySpreadConstraints = nil }, "may have all replicas on one node"},
	{"who stops has the time for it", func(o *objects) { *o.deployments[0].Spec.Template.Spec.TerminationGracePeriodSeconds = 30 }, "is killed after 30s, and may need 45s"},
	{"who stops has the time for it", func(o *objects) { at(o, "auth").ReadinessProbe.PeriodSeconds = 10 }, "is found unready after 20s, and closes after 10s"},
	{"budgets and replicas fit together", func(o *objects) { *o.budgets[0].Spec.MaxUnavailable = intstr.FromInt32(3) }, "lets more than one replica go"},
	{"budgets and replicas fit together", func(o *objects) { o.scalers[0].Spec.MinReplicas = new(int32(1)) }, "auth has 1 to 8 replicas"},
	{"one thing scales a Deployment", func(o *objects) { o.scalers[0].Spec.ScaleTargetRef.Name = "billing" }, "both scale Deployment billing and would fight"},
	{"one thing scales a Deployment", func(o *objects) { o.deployments[0].Spec.Replicas = new(int32(2)) }, "to which each apply sets it back"},
	{"Postgres has sessions for all replicas", func(o *objects) { o.scalers[0].Spec.MaxReplicas = 20 }, "the replicas may open 821 sessions"},
	{"migrations run once for a release, as the owner", func(o *objects) { at(o, "auth").Image = "registry.example/lavka-auth:v0.7.0" }, "should run the image of Deployment auth with migrate"},
	{"migrations run once for a release, as the owner", func(o *objects) { o.jobs[0].Name = "auth-migration-d65hhd527g" }, "there is no Job auth-migrate"},
	{"migrations run once for a release, as the owner", func(o *objects) { o.deployments[0].Spec.Template.Spec.Volumes[0].Secret.SecretName = "auth-migrate" }, " and CronJob auth-after-restore and CronJob auth-finish alone"},
	{"migrations run once for a release, as the owner", func(o *objects) { *o.jobs[0].Spec.ActiveDeadlineSeconds = 1800 }, "is stopped after 1800 s, and may need hours"},
	{"a Job that is changed is another Job", func(o *objects) { o.jobs[0].Name = "auth-migrate" }, "a change of Job auth-migrate would be refused"},
	{"a Job that is changed is another Job", func(o *objects) { o.jobs[0].Name = "auth-migrate-v0.6.0-d65hhd527g" }, "the API server would warn of the name of Job auth-migrate-v0.6.0"},
	{"after-restore and finish are there, and run only by hand", func(o *objects) { cron(o, "auth-after-restore").Spec.Suspend = nil }, "CronJob auth-after-restore runs by itself"},
	{"after-restore and finish are there, and run only by hand", func(o *objects) {
		cron(o, "billing-after-restore").Spec.JobTemplate.Spec.Template.Spec.Containers[0].Args = []string{"migrate"}
	}, "should run the image of Deployment billing with after-restore"},
	{"after-restore and finish are there, and run only by hand", func(o *objects) {
		o.cronJobs = slices.DeleteFunc(o.cronJobs, func(c *batch.CronJob) bool { return c.Name == "catalog-after-restore" })
	}, "there is no CronJob catalog-after-restore"},
	{"after-restore and finish are there, and run only by hand", func(o *objects) { cron(o, "billing-finish").Spec.Suspend = new(false) }, "CronJob billing-finish runs by itself, and would end the time"},
	{"after-restore and finish are there, and run only by hand", func(o *objects) {
		cron(o, "auth-finish").Spec.JobTemplate.Spec.Template.Spec.Containers[0].Args = []string{"finish"}
	}, "should run the image of Deployment auth with migrate finish"},
	{"what is stored is verified each day", func(o *objects) { cron(o, "billing-verify").Spec.Suspend = new(true) }, "the CronJob billing-verify does not run once a day"},
	{"what is stored is verified each day", func(o *objects) { cron(o, "auth-verify").Spec.Schedule = "7 3 * * 1" }, "the CronJob auth-verify does not run once a day"},
	{"what is stored is verified each day", func(o *objects) {
		cron(o, "catalog-verify").Spec.JobTemplate.Spec.Template.Spec.Containers[0].Args = []string{"books"}
	}, "the CronJob catalog-verify does not run [verify]"},
	{"the books are compared each day", func(o *objects) {
		o.cronJobs = slices.DeleteFunc(o.cronJobs, func(c *batch.CronJob) bool { return c.Name == "billing-compare" })
	}, "the CronJob billing-compare does not run once a day"},
	{"the books are compared each day", func(o *objects) { comparing(o).InitContainers[0].Args[1] = "/books/other" }, "does not run [books /books/catalog]"},
	{"the books are compared each day", func(o *objects) { comparing(o).InitContainers[0].Image = "registry.example/lavka-catalog:v0.5.0" }, "the release that serves"},
	{"the books are compared each day", func(o *objects) { comparing(o).InitContainers = nil }, "has not the one container that writes"},
	{"the books are compared each day", func(o *objects) { volume(comparing(o), "books").EmptyDir.SizeLimit = nil }, "may fill its node's disk"},
	{"the books are compared each day", func(o *objects) { container(comparing(o)).VolumeMounts = container(comparing(o)).VolumeMounts[:1] }, "must mount books at /books"},
	// Containers that run before others keep to the same rules.
	{"the namespace and every Pod keep to the restricted standard", func(o *objects) { comparing(o).InitContainers[0].SecurityContext.ReadOnlyRootFilesystem = nil }, "CronJob billing-compare can write to its own files"},
	{"settings are those of the services", func(o *objects) { comparing(o).InitContainers[0].Env[1].Name = "DATABASE_FILE" }, "DATABASE_FILE, which services/catalog/config.go does not read"},
	{"secrets come from somewhere", func(o *objects) { volume(comparing(o), "catalog-secrets").Secret.SecretName = "catalog-books" }, "needs Secret catalog-books"},
	{"resources are set, and Go knows its limit", func(o *objects) { delete(comparing(o).InitContainers[0].Resources.Limits, core.ResourceMemory) }, "CronJob billing-compare does not say how much it needs"},
	{"images are those that are built, with a release", func(o *objects) { comparing(o).InitContainers[0].Image = "registry.example/lavka-auth:v1" }, "should run lavka-catalog"},
	{"a container has the secrets of one service", func(o *objects) {
		first := &comparing(o).InitContainers[0]
		first.VolumeMounts = append(first.VolumeMounts, core.VolumeMount{Name: "secrets", MountPath: "/run/secrets/billing"})
	}, "container catalog of CronJob billing-compare can read the Secret billing"},
	{"a container has the secrets of one service", func(o *objects) {
		volume(&o.deployments[0].Spec.Template.Spec, "secrets").Secret.SecretName = "billing"
	}, "container service of Deployment auth can read the Secret billing"},
	{"the arrows are those of the architecture", func(o *objects) {
		networkPolicy(o, "nats").Spec.Ingress[0].From[0].PodSelector.MatchLabels = map[string]string{"app.kubernetes.io/part-of": "lavka"}
		networkPolicy(o, "to-nats").Spec.PodSelector.MatchLabels = map[string]string{"app.kubernetes.io/part-of": "lavka"}
	}, "let billing-verify → nats:4222 through, which is not in docs/architecture.md"},
	{"the arrows are those of the architecture", func(o *objects) {
		networkPolicy(o, "from-gateway").Spec.Ingress[0].Ports[0].Port = new(intstr.FromInt32(80))
	}, "do not let gateway → auth:8080 through"},
	{"the arrows are those of the architecture", func(o *objects) {
		o.network = slices.DeleteFunc(o.network, func(n *networking.NetworkPolicy) bool { return n.Name == "deny-all" })
	}, "whom no NetworkPolicy names may speak to all"},
	{"routes lead to Services, over TLS, and end in time", func(o *objects) { o.routes[0].Spec.Rules[0].BackendRefs[0].Name = "auth-internal" }, "leads to auth-internal, where no Service has its public port"},
	{"routes lead to Services, over TLS, and end in time", func(o *objects) { o.routes[0].Spec.Rules[0].Timeouts = nil }, "without timeouts.request"},
	{"routes lead to Services, over TLS, and end in time", func(o *objects) { o.routes[0].Spec.Hostnames[0] = "other.example" }, "for another name than [other.example]"},
	{"routes lead to Services, over TLS, and end in time", func(o *objects) { o.gateways[0].Spec.Listeners[0].Protocol = "HTTP" }, "speaks without TLS"},
	{"every route has a limit for bodies", func(o *objects) { o.backends = o.backends[:1] }, "lets bodies of 0 bytes through"},
	{"every route has a limit for bodies", func(o *objects) { o.backends[0].Spec.RequestBuffer.Limit = resource.MustParse("1Mi") }, "lets bodies of 1048576 bytes through"},
	{"every route has a limit for bodies", func(o *objects) { o.clients = nil }, "Gateway lavka has no ClientTrafficPolicy"},
	{"links lead to the gateway", func(o *objects) { o.configMaps[0].Data["PUBLIC_URL"] = "https://shop.test" }, "and the gateway is at https://shop.example"},
	{"Postgres loses nothing", func(o *objects) { o.clusters[0].Spec.PostgresConfiguration.Synchronous.DataDurability = "preferred" }, "may lose what was answered for"},
	{"Postgres loses nothing", func(o *objects) { o.backups = nil }, "keeps no WAL and no base backups"},
	{"Postgres loses nothing", func(o *objects) { o.clusters[0].Spec.Managed.Roles[0].Name = "author" }, "gives role auth no password"},
	{"what holds data is not pruned", func(o *objects) { delete(o.namespaces[0].Annotations, "kustomize.toolkit.fluxcd.io/prune") }, "Namespace lavka may be deleted with its data"},
	{"what holds data is not pruned", func(o *objects) { o.clusters[0].Annotations["argocd.argoproj.io/sync-options"] = "Prune=false" }, "set the annotation argocd.argoproj.io/sync-options: Prune=false,Delete=false"},
	{"streams have as many copies as NATS can keep", func(o *objects) { o.configMaps[0].Data["NATS_STREAM_REPLICAS"] = "1" }, "and NATS here can keep 3"},
	{"what is watched is there", func(o *objects) { o.monitors[0].Spec.JobLabel = "job" }, "ServiceMonitor auth does not find Service auth-internal"},
	{"what is watched is there", func(o *objects) { o.rules[0].Spec.Groups = o.rules[0].Spec.Groups[1:] }, "the PrometheusRule is not"},
}

var devMistakes = []mistake{
	{"dev fits on a node of two processors", func(o *objects) { at(o, "auth").Resources.Requests[core.ResourceCPU] = resource.MustParse("250m") }, "a node of two has 1 left for them"},
	{"links lead to the gateway", func(o *objects) {
		s, _ := find(o.services, "gateway")
		s.Spec.Ports[0].Port = 80
	}, "is http://127.0.0.1:8080, and the gateway is at http://127.0.0.1:80"},
	{"images are those that are built, with a release", func(o *objects) {
		d, _ := find(o.deployments, "dev-gateway")
		d.Spec.Template.Spec.Containers[0].Image = "caddy:2-alpine"
	}, "Deployment dev-gateway runs caddy:2-alpine"},
}

// Each rule is broken by at least one mistake, and reports what to change.
func TestMistakesAreCaught(t *testing.T) {
	t.Parallel()
	made := map[string]bool{}
	for overlay, list := range map[string][]mistake{"production": mistakes, "dev": devMistakes} {
		for i, m := range list {
			o := rendered(t, overlay)
			m.make(o)
			made[m.rule] = true
			for _, r := range rules(root) {
				if r.name != m.rule {
					continue
				}
				if told := strings.Join(r.broken(o), "\n"); !strings.Contains(told, m.told) {
					t.Errorf("mistake %d in %s (%s): told was %q, and should be %q", i, overlay, m.rule, told, m.told)
				}
			}
		}
	}
	made["NATS is configured as everywhere"] = true // below: it is about files
	for _, r := range rules(root) {
		if !made[r.name] {
			t.Errorf("no mistake breaks the rule %q", r.name)
		}
	}
}

func TestMistakesInNATSValuesAreCaught(t *testing.T) {
	t.Parallel()
	const values, config = "deploy/k8s/components/nats/values.yaml", "deploy/nats/nats.conf"
	o := rendered(t, "production")
	for _, c := range []struct{ file, old, new, told string }{
		{values, "- purchases.requested", "- purchases.>", "accounts in components/nats/values.yaml is not that of"},
		{values, "<< $BILLING_NATS_PASSWORD >>", "<< $AUTH_NATS_PASSWORD >>", "accounts in components/nats/values.yaml is not that of"},
		{values, "    BILLING_NATS_PASSWORD:", "    BILLING_PASSWORD:", "does not give NATS BILLING_NATS_PASSWORD"},
		{values, "replicas: 3", "replicas: 1", "fewer than three servers"},
		{values, "64KB", "1MB", "max_payload in components/nats/values.yaml is not that of"},
		{config, "max_ack_pending: 20000", "max_ack_pending: 30000", "accounts in components/nats/values.yaml is not that of"},
	} {
		dir := t.TempDir()
		for _, file := range []string{values, config} {
			text, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				t.Fatal(err)
			}
			changed := string(text)
			if file == c.file {
				changed = strings.Replace(changed, c.old, c.new, 1)
				if changed == string(text) {
					t.Errorf("%s has no %q", file, c.old)
				}
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(changed), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if told := strings.Join(natsAsConfigured(dir, o), "\n"); !strings.Contains(told, c.told) {
			t.Errorf("%s instead of %s: told was %q, and should be %q", c.new, c.old, told, c.told)
		}
	}
}

func TestSecretsWithoutTheirNamespaceAreCaught(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "deploy/k8s"), os.DirFS(filepath.Join(root, "deploy/k8s"))); err != nil {
		t.Fatal(err)
	}
	if _, err := devSecrets(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "deploy/k8s/base/namespace.yaml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := devSecrets(dir); err == nil || !strings.Contains(err.Error(), "does not begin with the namespace") {
		t.Errorf("told was %v", err)
	}
}

func TestManifestsAreDecodedStrictly(t *testing.T) {
	t.Parallel()
	scheme, err := knownTypes()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {port: 1}\n":                                    `unknown field "spec.port"`,
		"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: http}]}\n":                      "cannot unmarshal",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {A: a, A: b}\n":                               `key "A" already set`,
		"apiVersion: extensions/v1\nkind: Deployment\nmetadata: {name: x}\n":                                       "no kind",
		"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\nspec: {host: x}\n":        `unknown field "spec.host"`,
		"apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: x}\nspec: {instance: 3}\n":             `unknown field "spec.instance"`,
		"apiVersion: barmancloud.cnpg.io/v1\nkind: ObjectStore\nmetadata: {name: x}\nspec: {retention: 3d}\n":      `unknown field "spec.retention"`,
		"apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: x}\nspec: {minReplicas: 1}\n":          `unknown field "spec.minReplicas"`,
		"apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: x}\nspec: {endpoint: []}\n":  `unknown field "spec.endpoint"`,
		"apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: x}\nspec: {secretStore: {}}\n": `unknown field "spec.secretStore"`,
	} {
		if _, err := decode(scheme, []byte(text)); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\n%v, want %s", text, err, want)
		}
	}
}
