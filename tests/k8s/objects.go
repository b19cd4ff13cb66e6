package main

import (
	"fmt"
	"slices"
	"strings"

	cnpg "github.com/cloudnative-pg/cloudnative-pg/api/v1"
	barman "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	envoy "github.com/envoyproxy/gateway/api/v1alpha1"
	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

type (
	scheduledBackup   = cnpg.ScheduledBackup
	roleConfiguration = cnpg.RoleConfiguration
)

// objects are what an overlay is made of.
type objects struct {
	overlay string
	all     []metav1.Object

	namespaces   []*core.Namespace
	deployments  []*apps.Deployment
	statefulSets []*apps.StatefulSet
	jobs         []*batch.Job
	cronJobs     []*batch.CronJob
	services     []*core.Service
	configMaps   []*core.ConfigMap
	accounts     []*core.ServiceAccount
	budgets      []*policy.PodDisruptionBudget
	scalers      []*autoscaling.HorizontalPodAutoscaler
	scaled       []*keda.ScaledObject
	network      []*networking.NetworkPolicy
	gateways     []*gateway.Gateway
	routes       []*gateway.HTTPRoute
	clients      []*envoy.ClientTrafficPolicy
	backends     []*envoy.BackendTrafficPolicy
	clusters     []*cnpg.Cluster
	backups      []*cnpg.ScheduledBackup
	stores       []*barman.ObjectStore
	monitors     []*monitoring.ServiceMonitor
	rules        []*monitoring.PrometheusRule
	secrets      []*ExternalSecret
}

func (o *objects) add(object runtime.Object) error {
	switch x := object.(type) {
	case *core.Namespace:
		o.namespaces = append(o.namespaces, x)
	case *apps.Deployment:
		o.deployments = append(o.deployments, x)
	case *apps.StatefulSet:
		o.statefulSets = append(o.statefulSets, x)
	case *batch.Job:
		o.jobs = append(o.jobs, x)
	case *batch.CronJob:
		o.cronJobs = append(o.cronJobs, x)
	case *core.Service:
		o.services = append(o.services, x)
	case *core.ConfigMap:
		o.configMaps = append(o.configMaps, x)
	case *core.ServiceAccount:
		o.accounts = append(o.accounts, x)
	case *policy.PodDisruptionBudget:
		o.budgets = append(o.budgets, x)
	case *autoscaling.HorizontalPodAutoscaler:
		o.scalers = append(o.scalers, x)
	case *keda.ScaledObject:
		o.scaled = append(o.scaled, x)
	case *networking.NetworkPolicy:
		o.network = append(o.network, x)
	case *gateway.Gateway:
		o.gateways = append(o.gateways, x)
	case *gateway.HTTPRoute:
		o.routes = append(o.routes, x)
	case *envoy.ClientTrafficPolicy:
		o.clients = append(o.clients, x)
	case *envoy.BackendTrafficPolicy:
		o.backends = append(o.backends, x)
	case *cnpg.Cluster:
		o.clusters = append(o.clusters, x)
	case *cnpg.ScheduledBackup:
		o.backups = append(o.backups, x)
	case *barman.ObjectStore:
		o.stores = append(o.stores, x)
	case *monitoring.ServiceMonitor:
		o.monitors = append(o.monitors, x)
	case *monitoring.PrometheusRule:
		o.rules = append(o.rules, x)
	case *ExternalSecret:
		o.secrets = append(o.secrets, x)
	default:
		return fmt.Errorf("no rule looks at a %T: have one do so, in tests/k8s", object)
	}
	o.all = append(o.all, object.(metav1.Object))
	return nil
}

// pod is what a workload starts: of ours, or of what runs beside us, for which only labels and ports are known.
type pod struct {
	workload string // such as Deployment auth
	name     string // in docs/architecture.md
	labels   labels.Set
	space    labels.Set // labels of its namespace, when that is another one
	spec     *core.PodSpec
	ports    []int32
}

// containers are those of a Pod, and those that run before them.
func (p pod) containers() []core.Container {
	return append(slices.Clone(p.spec.InitContainers), p.spec.Containers...)
}

// runs is the service that a container is of: that of the Pod, or the one that it is named after. Other containers are not ours.
func (p pod) runs(c *core.Container) (service string, ours bool) {
	if c.Name == "service" {
		return p.labels["app.kubernetes.io/name"], true
	}
	return c.Name, slices.Contains(services, c.Name)
}

const component = "app.kubernetes.io/component"

// pods are those of our own workloads.
func (o *objects) pods() []pod {
	var all []pod
	add := func(kind, workload string, template *core.PodTemplateSpec) {
		// Without the hash of a Job; what is run by hand is the owner's, too.
		name := strings.NewReplacer("-after-restore", "-migrate", "-finish", "-migrate").Replace(workload)
		if kind == "Job" {
			name = hash.ReplaceAllString(name, "")
		}
		p := pod{workload: kind + " " + workload, name: name, labels: template.Labels, spec: &template.Spec}
		for _, c := range template.Spec.Containers {
			for _, port := range c.Ports {
				p.ports = append(p.ports, port.ContainerPort)
			}
		}
		all = append(all, p)
	}
	for _, d := range o.deployments {
		add("Deployment", d.Name, &d.Spec.Template)
	}
	for _, s := range o.statefulSets {
		add("StatefulSet", s.Name, &s.Spec.Template)
	}
	for _, j := range o.jobs {
		add("Job", j.Name, &j.Spec.Template)
	}
	for _, c := range o.cronJobs {
		add("CronJob", c.Name, &c.Spec.JobTemplate.Spec.Template)
	}
	return all
}

// others are pods that operators, charts and the cluster itself start, where the overlay counts on them.
func (o *objects) others() []pod {
	space := func(name string) labels.Set { return labels.Set{"kubernetes.io/metadata.name": name} }
	all := []pod{{name: "DNS", labels: labels.Set{"k8s-app": "kube-dns"}, space: space("kube-system"), ports: []int32{53}}}
	for _, c := range o.clusters {
		all = append(all, pod{name: "postgres", labels: labels.Set{"cnpg.io/cluster": c.Name}, ports: []int32{5432, 8000}},
			pod{name: "CloudNativePG", labels: labels.Set{}, space: space("cnpg-system")},
			pod{name: "Kubernetes and the object store", labels: labels.Set{}, space: space("kubernetes"), ports: []int32{443, 6443}})
	}
	if o.uses("nats-passwords") {
		all = append(all, pod{name: "nats", labels: labels.Set{"app.kubernetes.io/name": "nats", component: "nats"}, ports: []int32{4222, 6222, 8222}})
	}
	if len(o.gateways) > 0 {
		all = append(all, pod{name: "gateway", space: space("envoy-gateway-system"), labels: labels.Set{
			"gateway.envoyproxy.io/owning-gateway-namespace": "lavka", "gateway.envoyproxy.io/owning-gateway-name": "lavka"}})
	}
	if len(o.monitors) > 0 {
		all = append(all, pod{name: "Prometheus", labels: labels.Set{"app.kubernetes.io/name": "prometheus"}, space: space("monitoring")})
	}
	if len(o.scaled) > 0 {
		all = append(all, pod{name: "KEDA", labels: labels.Set{"app": "keda-operator"}, space: space("keda")})
	}
	return all
}

// uses says whether an ExternalSecret makes a Secret.
func (o *objects) uses(secret string) bool {
	for _, s := range o.secrets {
		if s.Spec.Target.Name == secret {
			return true
		}
	}
	return false
}

func find[T metav1.Object](all []T, name string) (found T, ok bool) {
	for _, one := range all {
		if one.GetName() == name {
			return one, true
		}
	}
	return found, false
}

func selects(s *metav1.LabelSelector, set labels.Set) bool {
	if s == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(set)
}
