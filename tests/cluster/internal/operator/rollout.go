package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Workload is as much of a Deployment, StatefulSet, Job or Pod as is looked at.
type Workload struct {
	Kind     string
	Metadata struct {
		Name, UID, DeletionTimestamp string
		Generation                   int64
		Labels                       map[string]string
	}
	Spec struct {
		Replicas   int64
		Template   struct{ Spec podSpec }
		Containers []container
	}
	Status struct {
		ObservedGeneration, UpdatedReplicas, Replicas, ReadyReplicas, AvailableReplicas int64 // of a Deployment or StatefulSet
		Active, Succeeded                                                               int64 // of a Job
		Conditions                                                                      []condition
	}
}

type condition struct{ Type, Status, Message string }

type podSpec struct{ Containers []container }

type container struct{ Image string }

func (w *Workload) String() string { return w.Kind + " " + w.Metadata.Name }

// started says whether the controller has seen the last change and has created Pods of it. A Pod that admission refuses is not created.
func (w *Workload) started() bool {
	switch w.Kind {
	case "Deployment", "StatefulSet":
		return w.Status.ObservedGeneration == w.Metadata.Generation && w.Status.UpdatedReplicas > 0
	case "Job":
		return w.Status.Active > 0 || w.Status.Succeeded > 0
	default:
		return false
	}
}

// done says whether all of its Pods are of the present template and available, or, of a Job, whether it has succeeded.
func (w *Workload) done() bool {
	is := w.Status
	if w.Kind == "Job" {
		return is.Succeeded > 0
	}
	want := w.Spec.Replicas
	return is.ObservedGeneration == w.Metadata.Generation && is.UpdatedReplicas == want && is.Replicas == want && is.ReadyReplicas == want && is.AvailableReplicas == want
}

// failed says why a Job has ended without success.
func (w *Workload) failed() error {
	for _, c := range w.Status.Conditions {
		if w.Kind == "Job" && c.Type == "Failed" && c.Status == "True" {
			return fmt.Errorf("%v has failed: %s", w, c.Message)
		}
	}
	return nil
}

// State is what runs of the shop.
type State struct {
	Workloads []Workload // Deployments, StatefulSets and Jobs
	Images    map[string][]string
	Ending    []string // Pods
}

// Await waits until every Deployment, StatefulSet and Job of the shop has Pods of its present template, and want, if it is not nil, finds nothing missing.
// Without nodes, no Pod ever runs.
func (o *Operator) Await(ctx context.Context, want func(State) error) (state State, err error) {
	err = o.poll(ctx, func() (missing, err error) {
		if state, missing, err = o.look(ctx); missing == nil && err == nil && want != nil {
			missing = want(state)
		}
		return missing, err
	}, func() error {
		events, err := o.Kubectl(ctx, "-n", "lavka", "get", "events", "--field-selector=type=Warning,reason=FailedCreate")
		return errors.Join(errors.New(events), err)
	})
	return state, err
}

// Settled waits until every Deployment and StatefulSet of the shop has all its Pods, of the present template and available, and no others, and every Job has
// succeeded. Pods that are to end have ended.
func (o *Operator) Settled(ctx context.Context) error {
	return o.poll(ctx, func() (missing, err error) {
		state, _, err := o.look(ctx)
		for _, w := range state.Workloads {
			err = errors.Join(err, w.failed())
			if !w.done() {
				missing = errors.Join(missing, fmt.Errorf("%v is not done: %+v", &w, w.Status))
			}
		}
		if len(state.Ending) > 0 {
			missing = errors.Join(missing, fmt.Errorf("these Pods have not ended: %q", state.Ending))
		}
		return missing, err
	}, func() error { return nil })
}

// Until looks until nothing is missing.
func (o *Operator) Until(ctx context.Context, look func() (missing, err error)) error {
	return o.poll(ctx, look, func() error { return nil })
}

// poll looks until nothing is missing. When it loses patience, it also returns what explain says.
func (o *Operator) poll(ctx context.Context, look func() (missing, err error), explain func() error) error {
	late := time.After(o.Patience)
	for {
		missing, err := look()
		if missing == nil || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return errors.Join(fmt.Errorf("after %v: %w", o.Patience, missing), explain())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Ready says of all Pods that serve what a node would say of them, until the rollouts have ended. An autoscaler may add Pods meanwhile.
func (o *Operator) Ready(ctx context.Context, deployments ...string) error {
	var patched error // a Pod may have been removed since it was listed
	return o.poll(ctx, func() (missing, err error) {
		names, err := o.Kubectl(ctx, "-n", "lavka", "get", "pod", "-l", "app.kubernetes.io/component=server", "-o", "name")
		if err != nil {
			return nil, err
		}
		since := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339) // longer than minReadySeconds
		ready := `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"` + since + `"}]}}`
		_, patched = o.Kubectl(ctx, append([]string{"-n", "lavka", "patch", "--subresource=status", "--type=merge", "-p", ready}, strings.Fields(names)...)...)
		for _, d := range deployments {
			out, err := o.Kubectl(ctx, "-n", "lavka", "rollout", "status", "deployment/"+d, "--watch=false")
			if err != nil {
				return nil, err
			}
			if !strings.Contains(out, "successfully rolled out") {
				missing = errors.Join(missing, errors.New(strings.TrimSpace(out)))
			}
		}
		return missing, nil
	}, func() error { return patched })
}

// look returns what runs, and an error about what has no Pods yet.
func (o *Operator) look(ctx context.Context) (state State, missing, err error) {
	out, err := o.Kubectl(ctx, "-n", "lavka", "get", "deployment,statefulset,job,pod", "-o", "json")
	if err != nil {
		return state, nil, err
	}
	var list struct{ Items []Workload }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return state, nil, err
	}
	var pods []Workload
	for _, w := range list.Items {
		if w.Kind == "Pod" {
			pods = append(pods, w)
			if w.Metadata.DeletionTimestamp != "" {
				state.Ending = append(state.Ending, w.Metadata.Name)
			}
			continue
		}
		state.Workloads = append(state.Workloads, w)
		if !w.started() {
			missing = errors.Join(missing, fmt.Errorf("%v has no Pods", &w))
		}
	}
	state.Images = images(pods)
	return state, missing, nil
}

// images are those of the Pods' first containers, sorted, by component and service: server auth, migrate auth. In the middle of an upgrade there are
// several.
func images(pods []Workload) map[string][]string {
	images := map[string][]string{}
	for _, p := range pods {
		l := p.Metadata.Labels
		of := l["app.kubernetes.io/component"] + " " + l["app.kubernetes.io/name"]
		if image := p.Spec.Containers[0].Image; !slices.Contains(images[of], image) {
			images[of] = append(images[of], image)
		}
	}
	for _, of := range images {
		slices.Sort(of)
	}
	return images
}
