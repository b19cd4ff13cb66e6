package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// probe is a Pod that is made to try connections: it has the labels of another.
type probe struct {
	name, namespace string
	labels          map[string]string
	outside         bool // of the shop, so that its policies do not say what else outside it reaches
}

func (p probe) pod() string { return "probe-" + strings.ReplaceAll(p.name, " ", "-") }

// object is the Pod. It never becomes ready, so that no Service leads to it.
func (p probe) object() (string, error) {
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": p.pod(), "namespace": p.namespace, "labels": p.labels},
		"spec": map[string]any{
			"readinessGates":               []any{map[string]any{"conditionType": "lavka/never"}},
			"automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 1,
			"securityContext": map[string]any{"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
			"containers": []any{map[string]any{
				"name": "probe", "image": pauseImage, "securityContext": map[string]any{"allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []string{"ALL"}}},
			}},
		},
	})
	return string(text), err
}

// startProbes returns when they run.
func (d *day) startProbes(ctx context.Context, probes []probe) error {
	objects := ""
	for _, p := range probes {
		object, err := p.object()
		if err != nil {
			return err
		}
		objects += "---\n" + object + "\n"
	}
	if err := d.ApplyText(ctx, []byte(objects)); err != nil {
		return err
	}
	return d.ofProbes(ctx, probes, "wait", "--for=jsonpath={.status.phase}=Running", "--timeout=2m")
}

// ofProbes runs a command of kubectl for the probes of each namespace.
func (d *day) ofProbes(ctx context.Context, probes []probe, command ...string) error {
	in := map[string][]string{}
	for _, p := range probes {
		in[p.namespace] = append(in[p.namespace], "pod/"+p.pod())
	}
	for namespace, pods := range in {
		if _, err := d.Kubectl(ctx, slices.Concat([]string{"-n", namespace}, command, pods)...); err != nil {
			return err
		}
	}
	return nil
}

// probes are one for each kind of Pod, and two that nothing should let in.
func (d *day) probes(ctx context.Context) ([]probe, error) {
	templates, err := d.templates(ctx)
	if err != nil {
		return nil, err
	}
	gateway := d.shop.gateway
	elsewhere := probe{"a gateway elsewhere", "default", gateway.labels, true}
	all := map[string]probe{
		gateway.name: gateway, elsewhere.name: elsewhere,
		aStranger: {aStranger, "lavka", map[string]string{"app.kubernetes.io/name": "stranger"}, true},
	}
	for _, t := range templates {
		all[t.name()] = probe{t.name(), "lavka", t.Metadata.Labels, false}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b probe) int { return strings.Compare(a.name, b.name) }), nil
}

const aStranger = "a stranger"

// target is where a probe tries to connect.
type target struct {
	name    string // in docs/architecture.md
	address string
	port    int
	outside bool // of the shop, so that its policies do not say whether strangers reach it
}

func (t target) String() string { return net.JoinHostPort(t.address, strconv.Itoa(t.port)) }

// targets are the ports of everything that runs, of the name server and of the API server.
func (d *day) targets(ctx context.Context) ([]target, error) {
	templates, err := d.templates(ctx)
	if err != nil {
		return nil, err
	}
	var all []target
	for _, t := range templates {
		for _, c := range t.Spec.Containers {
			for _, p := range c.Ports {
				var labels []string
				for name, value := range t.Metadata.Labels {
					labels = append(labels, name+"="+value)
				}
				address, err := d.podIP(ctx, "lavka", strings.Join(labels, ","))
				if err != nil {
					return nil, err
				}
				all = append(all, target{t.name(), address, p.ContainerPort, false})
			}
		}
	}
	if len(all) < 8 {
		return nil, fmt.Errorf("only %d ports are served: %v", len(all), all)
	}
	dns, err := d.podIP(ctx, "kube-system", "k8s-app=kube-dns")
	if err != nil {
		return nil, err
	}
	return append(all, target{"DNS", dns, 53, true}, target{d.shop.kubernetes, "10.96.0.1", 443, true}), nil
}

func (d *day) podIP(ctx context.Context, namespace, labels string) (string, error) {
	return d.Kubectl(ctx, "-n", namespace, "get", "pod", "-l", labels, "-o", "jsonpath={.items[0].status.podIP}")
}

// templates are the labels of all Pods that run or may run, with the ports of those that serve.
func (d *day) templates(ctx context.Context) (all []podTemplate, err error) {
	out, err := d.Kubectl(ctx, "-n", "lavka", "get", "deployment,statefulset,job,cronjob", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Spec struct {
				Template    podTemplate
				JobTemplate struct {
					Spec struct{ Template podTemplate }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	for _, item := range list.Items {
		t := item.Spec.Template
		if t.Metadata.Labels == nil {
			t = item.Spec.JobTemplate.Spec.Template
		}
		for name := range t.Metadata.Labels { // those of a Job, which say whose Pods they are
			if !strings.HasPrefix(name, "app.kubernetes.io/") && !strings.HasPrefix(name, "cnpg.io/") {
				delete(t.Metadata.Labels, name)
			}
		}
		all = append(all, t)
	}
	return all, nil
}

type podTemplate struct {
	Metadata struct{ Labels map[string]string }
	Spec     struct {
		Containers []struct {
			Ports []struct{ ContainerPort int }
		}
	}
}

// name is that of docs/architecture.md.
func (t podTemplate) name() string {
	name, component := t.Metadata.Labels["app.kubernetes.io/name"], t.Metadata.Labels["app.kubernetes.io/component"]
	if slices.Contains(services, name) && component != "server" {
		return name + "-" + component
	}
	return name
}
