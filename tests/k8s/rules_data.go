package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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

// notPruned looks at how Argo CD and Flux treat an object that is no longer in the overlay: if a component were dropped by mistake, they would delete its data.
// The claims of a StatefulSet are not objects of an overlay.
func notPruned(o *objects) (wrong []string) {
	keep := map[string]string{"argocd.argoproj.io/sync-options": "Prune=false,Delete=false", "kustomize.toolkit.fluxcd.io/prune": "disabled"}
	check := func(kind string, object metav1.Object) {
		for _, name := range slices.Sorted(maps.Keys(keep)) {
			if object.GetAnnotations()[name] != keep[name] {
				wrong = append(wrong, fmt.Sprintf("%s %s may be deleted with its data when it disappears from an overlay: set the annotation %s: %s", kind, object.GetName(), name, keep[name]))
			}
		}
	}
	for _, n := range o.namespaces {
		check("Namespace", n)
	}
	for _, c := range o.clusters {
		check("Cluster", c)
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
