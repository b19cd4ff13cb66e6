package main

import (
	"fmt"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// devFits adds up what the overlay dev asks for at most: while all Deployments are replaced, all Jobs run, and one of the CronJobs. Kubernetes' own Pods take up
// to half of a small node.
func devFits(o *objects) (wrong []string) {
	if o.overlay != "dev" {
		return nil
	}
	var sum, most resource.Quantity
	for _, d := range o.deployments {
		p := processors(&d.Spec.Template.Spec)
		sum.Add(p)
		sum.Add(p) // of the replica that takes its place
	}
	for _, s := range o.statefulSets {
		sum.Add(processors(&s.Spec.Template.Spec))
	}
	for _, j := range o.jobs {
		sum.Add(processors(&j.Spec.Template.Spec))
	}
	for _, c := range o.cronJobs {
		if p := processors(&c.Spec.JobTemplate.Spec.Template.Spec); p.Cmp(most) > 0 {
			most = p
		}
	}
	sum.Add(most)
	if limit := resource.MustParse("1"); sum.Cmp(limit) > 0 {
		wrong = append(wrong, fmt.Sprintf("during an upgrade its Pods ask for %s processors, and a node of two has 1 left for them: lower requests in overlays/dev", sum.AsDec()))
	}
	return wrong
}

// processors are what a Pod asks for: the sum of its containers, or more if one that runs before them needs more.
func processors(spec *core.PodSpec) (sum resource.Quantity) {
	for _, c := range spec.Containers {
		sum.Add(*c.Resources.Requests.Cpu())
	}
	for _, c := range spec.InitContainers {
		if c.Resources.Requests.Cpu().Cmp(sum) > 0 {
			sum = c.Resources.Requests.Cpu().DeepCopy()
		}
	}
	return sum
}
