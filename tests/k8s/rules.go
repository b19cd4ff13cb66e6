package main

import (
	"fmt"
	"slices"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
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
		{"a container has the secrets of one service", secretsApart},
		{"images are those that are built, with a release", images},
		{"resources are set, and Go knows its limit", resources},
		{"dev fits on a node of two processors", devFits},
		{"replicas are replaced without a gap", gapless},
		{"who stops has the time for it", timeToStop},
		{"budgets and replicas fit together", budgets},
		{"one thing scales a Deployment", oneScaler},
		{"Postgres has sessions for all replicas", sessions},
		{"migrations run once for a release, as the owner", migrations},
		{"a Job that is changed is another Job", jobNames},
		{"after-restore and finish are there, and run only by hand", onlyByHand},
		{"what is stored is verified each day", verified},
		{"the books are compared each day", compared},
		{"the arrows are those of the architecture", func(o *objects) []string { return arrowsOfTheArchitecture(root, o) }},
		{"routes lead to Services, over TLS, and end in time", routesLead},
		{"every route has a limit for bodies", bodiesLimited},
		{"links lead to the gateway", linksLead},
		{"Postgres loses nothing", postgresSafe},
		{"what holds data is not pruned", notPruned},
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
		for _, c := range p.containers() {
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
