package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

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
	for _, d := range o.servers() {
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

// ownLimit is the largest body that a route's service takes, in bytes (libs/service/httpserver, services/billing/internal/httpapi).
func ownLimit(route string) int64 {
	switch route {
	case "payment-webhook":
		return 16 << 10
	case "catalog-batch":
		return 1 << 20
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

// linksLead compares the beginning of the links in e-mails with where the gateway listens. In dev, kubectl port-forward brings it to this machine.
func linksLead(o *objects) (wrong []string) {
	want := "no gateway"
	if s, ok := find(o.services, "gateway"); ok {
		want = fmt.Sprintf("http://127.0.0.1:%d", s.Spec.Ports[0].Port)
	}
	if g, ok := find(o.gateways, "lavka"); ok && g.Spec.Listeners[0].Hostname != nil {
		want = "https://" + string(*g.Spec.Listeners[0].Hostname)
	}
	for _, m := range o.configMaps {
		if is, ok := m.Data["PUBLIC_URL"]; ok && is != want {
			wrong = append(wrong, fmt.Sprintf("PUBLIC_URL of ConfigMap %s is %s, and the gateway is at %s: set it in the overlay, or links to activate lead nowhere", m.Name, is, want))
		}
	}
	return wrong
}
