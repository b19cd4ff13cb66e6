package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// rule is something that must hold in every overlay. What breaks it is told with what to change.
type rule struct {
	name   string
	broken func(*objects) []string
}

var services = []string{"auth", "catalog", "billing"}

func rules(root string) []rule {
	return []rule{
		{"everything is in the namespace", namespaced},
		{"the namespace and every Pod keep to the restricted standard", restricted},
		{"no Pod has a token of Kubernetes", tokenless},
		{"selectors match", selectorsMatch},
		{"Services lead to replicas, by ports that are open", servicesLead},
		{"probes ask what answers", probesAnswer},
		{"settings are those of the services", func(o *objects) []string { return settingsKnown(root, o) }},
		{"ConfigMaps have hashed names", hashed},
		{"secrets come from somewhere", func(o *objects) []string { return secretsThere(root, o) }},
		{"images are those that are built, with a release", images},
		{"resources are set, and Go knows its limit", resources},
		{"replicas are replaced without a gap", gapless},
		{"who stops has the time for it", timeToStop},
		{"budgets and replicas fit together", budgets},
		{"one thing scales a Deployment", oneScaler},
		{"Postgres has sessions for all replicas", sessions},
		{"migrations run once for a release, as the owner", migrations},
		{"the ledger is verified each day", verified},
		{"the arrows are those of the architecture", func(o *objects) []string { return arrowsOfTheArchitecture(root, o) }},
		{"routes lead to Services, over TLS, and end in time", routesLead},
		{"every route has a limit for bodies", bodiesLimited},
		{"Postgres loses nothing", postgresSafe},
		{"streams have as many copies as NATS can keep", streams},
		{"NATS is configured as everywhere", func(o *objects) []string { return natsAsConfigured(root, o) }},
		{"what is watched is there", func(o *objects) []string { return watched(root, o) }},
	}
}

func namespaced(o *objects) (wrong []string) {
	for _, x := range o.all {
		if x.GetNamespace() != "lavka" && !slices.ContainsFunc(o.namespaces, func(n *core.Namespace) bool { return metav1.Object(n) == x }) {
			wrong = append(wrong, fmt.Sprintf("%s is in the namespace %q: set namespace: lavka in the overlay", x.GetName(), x.GetNamespace()))
		}
	}
	return wrong
}

// restricted asks the judge that Kubernetes' own admission asks (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
func restricted(o *objects) (wrong []string) {
	if n, ok := find(o.namespaces, "lavka"); !ok || n.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		wrong = append(wrong, "the Namespace lavka does not enforce it: set pod-security.kubernetes.io/enforce: restricted in base/namespace.yaml")
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return append(wrong, err.Error())
	}
	for _, p := range o.pods() {
		verdict := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &metav1.ObjectMeta{Labels: p.labels}, p.spec))
		if !verdict.Allowed {
			wrong = append(wrong, fmt.Sprintf("%s would be refused: set in its securityContext what is missing: %s", p.workload, verdict.ForbiddenDetail()))
		}
		for _, c := range p.spec.Containers {
			if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
				wrong = append(wrong, fmt.Sprintf("%s can write to its own files: set readOnlyRootFilesystem: true", p.workload))
			}
		}
	}
	return wrong
}

func tokenless(o *objects) (wrong []string) {
	for _, p := range o.pods() {
		if a := p.spec.AutomountServiceAccountToken; a == nil || *a {
			wrong = append(wrong, p.workload+" is given a token of Kubernetes, which nothing needs: set automountServiceAccountToken: false")
		}
	}
	for _, a := range o.accounts {
		if a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken {
			wrong = append(wrong, "ServiceAccount "+a.Name+" hands out tokens: set automountServiceAccountToken: false")
		}
	}
	return wrong
}

func selectorsMatch(o *objects) (wrong []string) {
	for _, d := range o.deployments {
		if !selects(d.Spec.Selector, d.Spec.Template.Labels) {
			wrong = append(wrong, fmt.Sprintf("Deployment %s does not select its own Pods: make matchLabels a part of the template's labels", d.Name))
		}
		for _, t := range d.Spec.Template.Spec.TopologySpreadConstraints {
			if !selects(t.LabelSelector, d.Spec.Template.Labels) {
				wrong = append(wrong, fmt.Sprintf("Deployment %s spreads other Pods than its own over %s: give the constraint its own labels", d.Name, t.TopologyKey))
			}
		}
	}
	for _, s := range o.statefulSets {
		if !selects(s.Spec.Selector, s.Spec.Template.Labels) {
			wrong = append(wrong, fmt.Sprintf("StatefulSet %s does not select its own Pods: make matchLabels a part of the template's labels", s.Name))
		}
	}
	for _, b := range o.budgets {
		if n := o.matching(func(p pod) bool { return selects(b.Spec.Selector, p.labels) }); len(n) != 1 || n[0] != "Deployment "+b.Name {
			wrong = append(wrong, fmt.Sprintf("PodDisruptionBudget %s is for %v: select the Pods of Deployment %[1]s", b.Name, n))
		}
	}
	for _, n := range o.network {
		every := append(o.pods(), o.others()...)
		if !slices.ContainsFunc(every, func(p pod) bool { return p.space == nil && selects(&n.Spec.PodSelector, p.labels) }) {
			wrong = append(wrong, fmt.Sprintf("NetworkPolicy %s is for no Pods: correct its podSelector", n.Name))
		}
	}
	return wrong
}

// matching names the workloads whose Pods are chosen.
func (o *objects) matching(chosen func(pod) bool) (names []string) {
	for _, p := range o.pods() {
		if chosen(p) {
			names = append(names, p.workload)
		}
	}
	return names
}

func servicesLead(o *objects) (wrong []string) {
	for _, s := range o.services {
		var leads []pod
		for _, p := range o.pods() {
			if labels.SelectorFromSet(s.Spec.Selector).Matches(p.labels) {
				leads = append(leads, p)
			}
		}
		if len(leads) != 1 || strings.HasPrefix(leads[0].workload, "Job") || strings.HasPrefix(leads[0].workload, "CronJob") {
			wrong = append(wrong, fmt.Sprintf("Service %s leads to %d workloads: its selector must match the Pods of one, which serve, and of no Job", s.Name, len(leads)))
			continue
		}
		for _, port := range s.Spec.Ports {
			if !opens(leads[0].spec, port.TargetPort) {
				wrong = append(wrong, fmt.Sprintf("Service %s leads to port %s of %s, which no container has: correct targetPort, or the container's ports", s.Name, port.TargetPort.String(), leads[0].workload))
			}
		}
	}
	for _, service := range services {
		for _, name := range []string{service, service + "-internal"} {
			if _, ok := find(o.services, name); !ok {
				wrong = append(wrong, "there is no Service "+name)
			}
		}
	}
	return wrong
}

// opens says whether a container of a Pod has a port, by name or number.
func opens(spec *core.PodSpec, port intstr.IntOrString) bool {
	for _, c := range spec.Containers {
		for _, p := range c.Ports {
			if port.Type == intstr.String && p.Name == port.StrVal || port.Type == intstr.Int && p.ContainerPort == port.IntVal {
				return true
			}
		}
	}
	return false
}

func probesAnswer(o *objects) (wrong []string) {
	for _, d := range o.deployments {
		c := container(&d.Spec.Template.Spec)
		if c == nil {
			wrong = append(wrong, fmt.Sprintf("Deployment %s has no container named service", d.Name))
			continue
		}
		for kind, probe := range map[string]struct {
			probe *core.Probe
			path  string
		}{"startup": {c.StartupProbe, "/livez"}, "liveness": {c.LivenessProbe, "/livez"}, "readiness": {c.ReadinessProbe, "/readyz"}} {
			if p := probe.probe; p == nil || p.HTTPGet == nil || p.HTTPGet.Path != probe.path || p.HTTPGet.Port.StrVal != "internal" {
				wrong = append(wrong, fmt.Sprintf("the %s probe of Deployment %s does not ask for %s of the port internal, which answers: see common/deployment.yaml", kind, d.Name, probe.path))
			}
		}
		for name, number := range map[string]int32{"http": 8080, "internal": 9090} { // the defaults of HTTP_ADDR and INTERNAL_ADDR
			if !slices.ContainsFunc(c.Ports, func(p core.ContainerPort) bool { return p.Name == name && p.ContainerPort == number }) {
				wrong = append(wrong, fmt.Sprintf("Deployment %s has no port %s at %d, where the service listens", d.Name, name, number))
			}
		}
	}
	return wrong
}

// container is the one named service, or nil.
func container(spec *core.PodSpec) *core.Container {
	for i := range spec.Containers {
		if spec.Containers[i].Name == "service" {
			return &spec.Containers[i]
		}
	}
	return nil
}

// needed are settings without which a service does not start.
var needed = map[string][]string{
	"auth":    {"DATABASE_URL_FILE", "NATS_URL_FILE", "PUBLIC_URL", "AUTH_SIGNING_KEYS"},
	"catalog": {"DATABASE_URL_FILE", "NATS_URL_FILE", "JWKS_URL"},
	"billing": {"DATABASE_URL_FILE", "NATS_URL_FILE", "JWKS_URL", "PAYMENT_PRIVATE_KEYS_FILE"},
}

func settingsKnown(root string, o *objects) (wrong []string) {
	for _, p := range o.pods() {
		service := p.labels["app.kubernetes.io/name"]
		c := container(p.spec)
		if c == nil {
			continue
		}
		settings, err := settingsOf(root, service)
		if err != nil {
			return append(wrong, err.Error())
		}
		names := map[string]string{} // with where they come from
		for _, from := range c.EnvFrom {
			m, ok := find(o.configMaps, from.ConfigMapRef.Name)
			if !ok {
				wrong = append(wrong, fmt.Sprintf("%s reads ConfigMap %s, which is not there", p.workload, from.ConfigMapRef.Name))
				continue
			}
			for name, value := range m.Data {
				names[name] = "ConfigMap " + m.Name
				if settings[name].secret {
					wrong = append(wrong, fmt.Sprintf("%s of ConfigMap %s is a secret (%.1s…): put it into a Secret and mount it", name, m.Name, value))
				}
			}
		}
		for _, e := range c.Env {
			names[e.Name] = p.workload
			if settings[e.Name].secret {
				wrong = append(wrong, fmt.Sprintf("%s gives the secret %s in its environment: mount it and give %[2]s_FILE", p.workload, e.Name))
			}
			if file, ok := strings.CutPrefix(e.Value, "/run/"); ok && !mounted(p.spec, c, e.Value) {
				wrong = append(wrong, fmt.Sprintf("%s has %s=/run/%s, which no volume brings: add it to the items of the volume", p.workload, e.Name, file))
			}
		}
		for name, from := range names {
			if !known(settings, name) {
				wrong = append(wrong, fmt.Sprintf("%s sets %s, which services/%s/config.go does not read: correct the name", from, name, service))
			}
		}
		if p.labels[component] == "server" {
			for _, name := range needed[service] {
				if names[name] == "" {
					wrong = append(wrong, fmt.Sprintf("%s does not set %s, without which it does not start", p.workload, name))
				}
			}
		}
	}
	return wrong
}

// mounted says whether a volume has a file of that path.
func mounted(spec *core.PodSpec, c *core.Container, path string) bool {
	for _, m := range c.VolumeMounts {
		file, ok := strings.CutPrefix(path, m.MountPath+"/")
		if !ok {
			continue
		}
		for _, v := range spec.Volumes {
			if v.Name != m.Name || v.Secret == nil {
				continue
			}
			if len(v.Secret.Items) == 0 || slices.ContainsFunc(v.Secret.Items, func(k core.KeyToPath) bool { return k.Path == file }) {
				return true
			}
		}
	}
	return false
}

var hash = regexp.MustCompile(`-[0-9a-z]{10}$`)

func hashed(o *objects) (wrong []string) {
	for _, p := range o.pods() {
		for _, c := range p.spec.Containers {
			for _, from := range c.EnvFrom {
				if from.ConfigMapRef != nil && !hash.MatchString(from.ConfigMapRef.Name) {
					wrong = append(wrong, fmt.Sprintf("%s reads ConfigMap %s, whose name does not change with what it holds, so a change starts no rollout: make it with configMapGenerator", p.workload, from.ConfigMapRef.Name))
				}
			}
		}
	}
	return wrong
}

// elsewhere are Secrets that operators make.
var elsewhere = map[string]string{"postgres-ca": "CloudNativePG", "shop-tls": "who issues certificates", "payments-tls": "who issues certificates"}

func secretsThere(root string, o *objects) (wrong []string) {
	given, where := map[string][]string{}, "components/external-secrets"
	if o.overlay == "dev" {
		var err error
		if given, err = devSecrets(root); err != nil {
			return []string{err.Error()}
		}
		where = "dev-secrets"
	}
	for _, s := range o.secrets {
		for _, d := range s.Spec.Data {
			given[s.Spec.Target.Name] = append(given[s.Spec.Target.Name], d.SecretKey)
		}
	}
	need := func(who, secret string, keys ...string) {
		if elsewhere[secret] != "" {
			return
		}
		if given[secret] == nil {
			wrong = append(wrong, fmt.Sprintf("%s needs Secret %s, which nobody makes: add it to %s", who, secret, where))
		}
		for _, key := range keys {
			if given[secret] != nil && !slices.Contains(given[secret], key) {
				wrong = append(wrong, fmt.Sprintf("%s needs %s of Secret %s, which has only %v: add it in %s", who, key, secret, given[secret], where))
			}
		}
	}
	for _, p := range o.pods() {
		for _, v := range p.spec.Volumes {
			if v.Secret != nil {
				var keys []string
				for _, item := range v.Secret.Items {
					keys = append(keys, item.Key)
				}
				need(p.workload, v.Secret.SecretName, keys...)
			}
		}
		for _, c := range p.spec.Containers {
			for _, from := range c.EnvFrom {
				if from.SecretRef != nil {
					need(p.workload, from.SecretRef.Name)
				}
			}
			if slices.ContainsFunc(c.Env, func(e core.EnvVar) bool { return e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil }) {
				wrong = append(wrong, p.workload+" has a secret in its environment: mount it, and give …_FILE")
			}
		}
	}
	for _, c := range o.clusters {
		for _, r := range c.Spec.Managed.Roles {
			need("role "+r.Name, r.PasswordSecret.Name, "username", "password")
		}
	}
	for _, s := range o.stores {
		need("ObjectStore "+s.Name, s.Spec.Configuration.AWS.AccessKeyIDReference.Name, s.Spec.Configuration.AWS.AccessKeyIDReference.Key, s.Spec.Configuration.AWS.SecretAccessKeyReference.Key)
	}
	return wrong
}

// foreign are images that are not ours.
var foreign = []string{"postgres:18", "nats:2.15-alpine"}

func images(o *objects) (wrong []string) {
	for _, p := range o.pods() {
		for _, c := range p.spec.Containers {
			name, tag, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":")
			if tag == "" || tag == "latest" {
				wrong = append(wrong, fmt.Sprintf("%s runs %s, of no release: give a tag in the overlay's images", p.workload, c.Image))
			}
			if want := "lavka-" + p.labels["app.kubernetes.io/name"]; c.Name == "service" && name != want || c.Name != "service" && !slices.Contains(foreign, c.Image) {
				wrong = append(wrong, fmt.Sprintf("%s runs %s, and should run %s, which make images builds, or one of %v", p.workload, c.Image, want, foreign))
			}
		}
	}
	return wrong
}

func resources(o *objects) (wrong []string) {
	for _, p := range o.pods() {
		for _, c := range p.spec.Containers {
			r := c.Resources
			if r.Requests.Cpu().IsZero() || r.Requests.Memory().IsZero() || r.Limits.Cpu().IsZero() || r.Limits.Memory().IsZero() {
				wrong = append(wrong, fmt.Sprintf("%s does not say how much it needs and may have: set requests and limits of cpu and memory", p.workload))
				continue
			}
			if p.labels[component] != "server" {
				continue
			}
			if r.Requests.Memory().Cmp(*r.Limits.Memory()) != 0 {
				wrong = append(wrong, fmt.Sprintf("%s may use more memory than it has asked for, and be killed for it: make both the same", p.workload))
			}
			limit := env(&c, "GOMEMLIMIT")
			mib, err := strconv.ParseInt(strings.TrimSuffix(limit, "MiB"), 10, 64)
			if share := float64(mib<<20) / float64(r.Limits.Memory().Value()); err != nil || share < 0.8 || share > 0.9 {
				wrong = append(wrong, fmt.Sprintf("%s has GOMEMLIMIT=%s and a limit of %s: set it to 80 to 90 %% of that, in MiB", p.workload, limit, r.Limits.Memory()))
			}
		}
	}
	return wrong
}

func env(c *core.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

func gapless(o *objects) (wrong []string) {
	for _, d := range o.deployments {
		u := d.Spec.Strategy.RollingUpdate
		if u == nil || u.MaxUnavailable == nil || u.MaxUnavailable.IntValue() != 0 || u.MaxSurge == nil || u.MaxSurge.IntValue() < 1 {
			wrong = append(wrong, fmt.Sprintf("Deployment %s takes a replica away before the new one is ready: maxUnavailable: 0, maxSurge: 1", d.Name))
		}
		if len(d.Spec.Template.Spec.TopologySpreadConstraints) < 2 {
			wrong = append(wrong, fmt.Sprintf("Deployment %s may have all replicas on one node: spread it over zones and hosts", d.Name))
		}
	}
	return wrong
}

func timeToStop(o *objects) (wrong []string) {
	for _, d := range o.deployments {
		c := container(&d.Spec.Template.Spec)
		if c == nil || c.ReadinessProbe == nil || d.Spec.Template.Spec.TerminationGracePeriodSeconds == nil {
			wrong = append(wrong, fmt.Sprintf("Deployment %s has no readiness probe, or no terminationGracePeriodSeconds", d.Name))
			continue
		}
		drain, err := time.ParseDuration(env(c, "DRAIN_DELAY"))
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("Deployment %s has no DRAIN_DELAY: set it in common/deployment.yaml", d.Name))
			continue
		}
		const shutdown, rest = 25 * time.Second, 10 * time.Second // SHUTDOWN_TIMEOUT, and docs/operations.md
		if grace := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second; grace < drain+shutdown+rest {
			wrong = append(wrong, fmt.Sprintf("Deployment %s is killed after %v, and may need %v: raise terminationGracePeriodSeconds", d.Name, grace, drain+shutdown+rest))
		}
		if noticed := time.Duration(c.ReadinessProbe.PeriodSeconds*c.ReadinessProbe.FailureThreshold) * time.Second; noticed >= drain {
			wrong = append(wrong, fmt.Sprintf("Deployment %s is found unready after %v, and closes after %v: probe more often, or raise DRAIN_DELAY", d.Name, noticed, drain))
		}
	}
	return wrong
}

// replicas are how many a Deployment has, at least and at most.
func (o *objects) replicas(deployment string) (least, most int32) {
	if s, ok := find(o.scalers, deployment); ok {
		return *s.Spec.MinReplicas, s.Spec.MaxReplicas
	}
	if s, ok := find(o.scaled, deployment); ok {
		return *s.Spec.MinReplicaCount, *s.Spec.MaxReplicaCount
	}
	if d, ok := find(o.deployments, deployment); ok && d.Spec.Replicas != nil {
		return *d.Spec.Replicas, *d.Spec.Replicas
	}
	return 1, 1
}

func budgets(o *objects) (wrong []string) {
	for _, service := range services {
		least, most := o.replicas(service)
		b, ok := find(o.budgets, service)
		switch {
		case o.overlay == "dev":
			if ok || least != 1 {
				wrong = append(wrong, fmt.Sprintf("%s has %d replicas, or a PodDisruptionBudget, in dev: one, and none", service, least))
			}
		case least < 2 || most < least:
			wrong = append(wrong, fmt.Sprintf("%s has %d to %d replicas: two at least", service, least, most))
		case !ok || b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.IntValue() < 1 || int32(b.Spec.MaxUnavailable.IntValue()) >= least:
			wrong = append(wrong, fmt.Sprintf("the PodDisruptionBudget of %s is missing, lets no node be emptied, or lets all %d replicas go: maxUnavailable: 1", service, least))
		}
	}
	return wrong
}

func oneScaler(o *objects) (wrong []string) {
	by := map[string][]string{}
	for _, s := range o.scalers {
		by[s.Spec.ScaleTargetRef.Name] = append(by[s.Spec.ScaleTargetRef.Name], "HorizontalPodAutoscaler "+s.Name)
	}
	for _, s := range o.scaled {
		by[s.Spec.ScaleTargetRef.Name] = append(by[s.Spec.ScaleTargetRef.Name], "ScaledObject "+s.Name)
	}
	for _, target := range slices.Sorted(maps.Keys(by)) {
		d, ok := find(o.deployments, target)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%v scale Deployment %s, which is not there", by[target], target))
			continue
		}
		if len(by[target]) > 1 {
			wrong = append(wrong, fmt.Sprintf("%v both scale Deployment %s and would fight: remove one", by[target], target))
		}
		if d.Spec.Replicas != nil {
			wrong = append(wrong, fmt.Sprintf("Deployment %s has replicas: %d, to which each apply sets it back: leave it out, %v decides", target, *d.Spec.Replicas, by[target]))
		}
	}
	return wrong
}

// sessionsOf are those of Postgres that one replica uses (services/*/run.go).
var sessionsOf = map[string]int32{"auth": 20, "catalog": 20, "billing": 10}

func sessions(o *objects) (wrong []string) {
	for _, c := range o.clusters {
		limit, err := strconv.Atoi(c.Spec.PostgresConfiguration.Parameters["max_connections"])
		if err != nil {
			wrong = append(wrong, "Cluster "+c.Name+" has no max_connections")
			continue
		}
		need := int32(20) // of operators, migrations, verifications, and people
		for _, service := range services {
			_, most := o.replicas(service)
			need += (most + 1) * sessionsOf[service] // and one that takes another's place
		}
		if need > int32(limit) {
			wrong = append(wrong, fmt.Sprintf("the replicas may open %d sessions, and max_connections of Cluster %s is %d: raise it, or lower how many replicas there may be", need, c.Name, limit))
		}
	}
	return wrong
}

func migrations(o *objects) (wrong []string) {
	for _, service := range services {
		d, ok := find(o.deployments, service)
		if !ok {
			wrong = append(wrong, "there is no Deployment "+service)
			continue
		}
		_, release, _ := strings.Cut(container(&d.Spec.Template.Spec).Image, ":")
		name := service + "-migrate-" + release
		j, ok := find(o.jobs, name)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("there is no Job %s: the release is the end of its name, by replacements in the overlay", name))
			continue
		}
		c := container(&j.Spec.Template.Spec)
		if c.Image != container(&d.Spec.Template.Spec).Image || !slices.Equal(c.Args, []string{"migrate"}) {
			wrong = append(wrong, fmt.Sprintf("Job %s runs %s %v, and should run the image of Deployment %s with migrate", name, c.Image, c.Args, service))
		}
		owner := service + "-migrate"
		for _, p := range o.pods() {
			uses := slices.ContainsFunc(p.spec.Volumes, func(v core.Volume) bool { return v.Secret != nil && v.Secret.SecretName == owner })
			if mine := p.workload == "Job "+name; uses != mine {
				wrong = append(wrong, fmt.Sprintf("%s has, or has not, the Secret %s: the owner's rights are for Job %s alone", p.workload, owner, name))
			}
		}
	}
	return wrong
}

func verified(o *objects) (wrong []string) {
	c, ok := find(o.cronJobs, "billing-verify")
	if !ok || c.Spec.Suspend != nil && *c.Spec.Suspend || !regexp.MustCompile(`^\d+ \d+ \* \* \*$`).MatchString(c.Spec.Schedule) || !slices.Equal(container(&c.Spec.JobTemplate.Spec.Template.Spec).Args, []string{"verify"}) {
		return []string{"the CronJob billing-verify does not run verify once a day: LedgerNotVerified would fire"}
	}
	return nil
}

func routesLead(o *objects) (wrong []string) {
	for _, r := range o.routes {
		for _, rule := range r.Spec.Rules {
			if rule.Timeouts == nil || rule.Timeouts.Request == nil {
				wrong = append(wrong, fmt.Sprintf("HTTPRoute %s has a rule without timeouts.request", r.Name))
			}
			for _, b := range rule.BackendRefs {
				s, ok := find(o.services, string(b.Name))
				if !ok || b.Port == nil || !slices.ContainsFunc(s.Spec.Ports, func(p core.ServicePort) bool { return p.Port == int32(*b.Port) && p.Name == "http" }) {
					wrong = append(wrong, fmt.Sprintf("HTTPRoute %s leads to %s, where no Service has its public port: correct backendRefs", r.Name, b.Name))
				}
			}
		}
		for _, parent := range r.Spec.ParentRefs {
			g, ok := find(o.gateways, string(parent.Name))
			found := false
			for i := 0; ok && i < len(g.Spec.Listeners); i++ {
				l := g.Spec.Listeners[i]
				found = found || parent.SectionName != nil && l.Name == *parent.SectionName && len(r.Spec.Hostnames) == 1 && l.Hostname != nil && *l.Hostname == r.Spec.Hostnames[0]
			}
			if !found {
				wrong = append(wrong, fmt.Sprintf("HTTPRoute %s hangs on a listener that Gateway %s does not have, or has for another name than %v", r.Name, parent.Name, r.Spec.Hostnames))
			}
		}
	}
	for _, g := range o.gateways {
		for _, l := range g.Spec.Listeners {
			if l.Protocol != "HTTPS" || l.TLS == nil || len(l.TLS.CertificateRefs) == 0 {
				wrong = append(wrong, fmt.Sprintf("the listener %s of Gateway %s speaks without TLS: protocol: HTTPS, with certificateRefs", l.Name, g.Name))
			}
		}
	}
	return wrong
}

// ownLimit is the largest body that a route's service takes, in bytes (libs/httpserver, services/billing/internal/httpapi).
func ownLimit(route string) int64 {
	if route == "payment-webhook" {
		return 16 << 10
	}
	return 64 << 10
}

func bodiesLimited(o *objects) (wrong []string) {
	for _, r := range o.routes {
		limit := int64(0)
		for _, b := range o.backends {
			for _, target := range b.Spec.TargetRefs {
				if string(target.Name) == r.Name && target.Kind == "HTTPRoute" && b.Spec.RequestBuffer != nil {
					limit = b.Spec.RequestBuffer.Limit.Value()
				}
			}
		}
		if own := ownLimit(r.Name); limit <= own || limit > 2*own {
			wrong = append(wrong, fmt.Sprintf("HTTPRoute %s lets bodies of %d bytes through (0: of any size), and its service takes %d: give it a requestBuffer somewhat above in components/gateway/limits.yaml", r.Name, limit, own))
		}
	}
	for _, g := range o.gateways {
		if len(o.clients) != 1 || string(o.clients[0].Spec.TargetRefs[0].Name) != g.Name || o.clients[0].Spec.Connection == nil || o.clients[0].Spec.Path == nil {
			wrong = append(wrong, fmt.Sprintf("Gateway %s has no ClientTrafficPolicy with a limit for connections and strict paths", g.Name))
		}
	}
	return wrong
}

func postgresSafe(o *objects) (wrong []string) {
	for _, c := range o.clusters {
		s := c.Spec.PostgresConfiguration.Synchronous
		if c.Spec.Instances < 3 || s == nil || s.Method != "any" || s.Number != 1 || s.DataDurability != "required" {
			wrong = append(wrong, fmt.Sprintf("Cluster %s may lose what was answered for: three instances, synchronous any 1, dataDurability: required", c.Name))
		}
		if !slices.ContainsFunc(o.backups, func(b *scheduledBackup) bool { return b.Spec.Cluster.Name == c.Name }) || len(o.stores) == 0 || len(c.Spec.Plugins) == 0 || c.Spec.Plugins[0].IsWALArchiver == nil || !*c.Spec.Plugins[0].IsWALArchiver || c.Spec.Plugins[0].Parameters["barmanObjectName"] != o.stores[0].Name {
			wrong = append(wrong, fmt.Sprintf("Cluster %s keeps no WAL and no base backups: a ScheduledBackup, an ObjectStore, and the plugin as WAL archiver", c.Name))
		}
		for _, service := range services {
			for _, role := range []string{service, service + "_owner"} {
				if !slices.ContainsFunc(c.Spec.Managed.Roles, func(r roleConfiguration) bool { return r.Name == role && r.Login && r.PasswordSecret != nil }) {
					wrong = append(wrong, fmt.Sprintf("Cluster %s gives role %s no password: add it to managed.roles", c.Name, role))
				}
			}
		}
	}
	return wrong
}

func streams(o *objects) (wrong []string) {
	want := "1"
	if o.uses("nats-passwords") { // the chart's, with three servers
		want = "3"
	}
	for _, service := range []string{"auth", "billing"} {
		for _, m := range o.configMaps {
			if strings.HasPrefix(m.Name, service+"-") && m.Data["NATS_STREAM_REPLICAS"] != want {
				wrong = append(wrong, fmt.Sprintf("ConfigMap %s has NATS_STREAM_REPLICAS=%s, and NATS here can keep %s: see components/nats", m.Name, m.Data["NATS_STREAM_REPLICAS"], want))
			}
		}
	}
	return wrong
}

func watched(root string, o *objects) (wrong []string) {
	if o.overlay == "dev" {
		return nil
	}
	for _, service := range services {
		m, ok := find(o.monitors, service)
		if !ok || len(m.Spec.Endpoints) != 1 {
			wrong = append(wrong, "there is no ServiceMonitor "+service+" with one endpoint")
			continue
		}
		s, ok := find(o.services, service+"-internal")
		if !ok || !selects(&m.Spec.Selector, s.Labels) || s.Labels[m.Spec.JobLabel] != service || !slices.ContainsFunc(s.Spec.Ports, func(p core.ServicePort) bool { return p.Name == m.Spec.Endpoints[0].Port }) {
			wrong = append(wrong, fmt.Sprintf("ServiceMonitor %s does not find Service %[1]s-internal, its port, or job=%[1]q there: compare selector, port and jobLabel with its labels", service))
		}
		if n := len(slices.DeleteFunc(slices.Clone(o.services), func(s *core.Service) bool { return !selects(&m.Spec.Selector, s.Labels) })); n != 1 {
			wrong = append(wrong, fmt.Sprintf("ServiceMonitor %s finds %d Services: one", service, n))
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy/observability/rules/lavka.yaml"))
	if err != nil {
		return append(wrong, err.Error())
	}
	var want, got any
	if err := yaml.Unmarshal(text, &want); err != nil {
		return append(wrong, err.Error())
	}
	if r, ok := find(o.rules, "lavka"); ok {
		if text, err = yaml.Marshal(r.Spec); err == nil {
			err = yaml.Unmarshal(text, &got)
		}
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		wrong = append(wrong, "the PrometheusRule is not deploy/observability/rules/lavka.yaml: make generate")
	}
	if !slices.ContainsFunc(o.configMaps, func(m *core.ConfigMap) bool {
		return m.Labels["grafana_dashboard"] == "1" && m.Data["lavka.json"] != ""
	}) {
		wrong = append(wrong, "the dashboard is not among the ConfigMaps")
	}
	return wrong
}
