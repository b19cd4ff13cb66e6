package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lavka/tests/cluster/internal/operator"
)

// trial is what is done with each overlay.
type trial struct{ *cluster }

var services = []string{"auth", "catalog", "billing"}

// overlay goes through the life of a shop, from the first installation to its removal.
func (t *trial) overlay(ctx context.Context, name string) error {
	if err := t.fresh(); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		do    func(context.Context, string) error
	}{
		{"installed, every Pod is admitted", t.install},
		{"applied again, nothing changes", t.again},
		{"upgraded to the next release and back", t.upgrade},
		{"a Job is changed within a release", t.changeJob},
		{"removed", t.uninstall},
	} {
		if err := step(name+": "+part.title, func() error { return part.do(ctx, name) }); err != nil {
			return err
		}
	}
	return nil
}

// gitops has the API server look at the objects for Argo CD and Flux, each in the namespace of its tool.
func (t *trial) gitops(ctx context.Context) error {
	var wrong []error
	for tool, namespace := range map[string]string{"argocd": "argocd", "flux": "flux-system"} {
		if _, err := t.Kubectl(ctx, "create", "namespace", namespace); err != nil {
			return err
		}
		_, err := t.Kubectl(ctx, "apply", "--server-side", "--dry-run=server", "-f", filepath.Join(t.Deploy, "k8s/gitops", tool+".yaml"))
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// fresh has the copy of deploy/ made again.
func (t *trial) fresh() error {
	return errors.Join(os.RemoveAll(t.Deploy), t.Copy(filepath.Join(t.root, "deploy")))
}

func (t *trial) install(ctx context.Context, overlay string) error {
	if overlay == "dev" {
		secrets, err := t.devSecrets(ctx)
		if err != nil {
			return err
		}
		if err := t.ApplyText(ctx, secrets); err != nil {
			return err
		}
	} else if _, err := t.Kubectl(ctx, "apply", "--server-side", "-f", filepath.Join(t.Deploy, "k8s/base/namespace.yaml")); err != nil {
		return err
	}
	out, err := t.Apply(ctx, overlay)
	if err != nil {
		return err
	}
	if objects := strings.Count(out, " serverside-applied\n"); objects < 30 {
		return fmt.Errorf("only %d objects were applied:\n%s", objects, out)
	} else {
		fmt.Printf("    %d objects, no warning\n", objects)
	}
	if _, err := t.Await(ctx, nil); err != nil {
		return err
	}
	return t.Ready(ctx, services...)
}

// again wants kubectl to find no difference, and applying to succeed.
func (t *trial) again(ctx context.Context, overlay string) error {
	if err := t.unchanged(ctx, overlay); err != nil {
		return err
	}
	if _, err := t.Apply(ctx, overlay); err != nil {
		return err
	}
	return t.unchanged(ctx, overlay)
}

func (t *trial) unchanged(ctx context.Context, overlay string) error {
	if out, err := t.Kubectl(ctx, "diff", "--server-side", "-k", t.Overlay(overlay)); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// upgrade wants new replicas and a migration of the next release beside the old replicas, and on the way back the old workloads to be left as they are,
// the migrations among them.
func (t *trial) upgrade(ctx context.Context, overlay string) error {
	before, err := t.Await(ctx, nil)
	if err != nil {
		return err
	}
	present, next := release{}, release{}
	for _, s := range services {
		images := before.Images["server "+s]
		if len(images) != 1 {
			return fmt.Errorf("%s has Pods of %q, instead of one release", s, images)
		}
		name, _, _ := strings.Cut(images[0], ":")
		present[s], next[s] = images[0], name+":v99.0.0"
	}

	if err := t.replaced(ctx, overlay, present, next); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	if err := t.replaced(ctx, overlay, next, present); err != nil {
		return fmt.Errorf("way back: %w", err)
	}
	after, err := t.Await(ctx, nil)
	if err != nil {
		return err
	}
	for _, w := range before.Workloads {
		if !slices.ContainsFunc(after.Workloads, func(a operator.Workload) bool { return a.Metadata.UID == w.Metadata.UID }) {
			return fmt.Errorf("%v is gone after the way back", &w)
		}
	}
	return t.unchanged(ctx, overlay)
}

// release has the image of each service.
type release map[string]string

// replaced applies a release. The old replicas must stay until the new ones are ready.
func (t *trial) replaced(ctx context.Context, overlay string, old, new release) error {
	var set []string
	for _, s := range services {
		set = append(set, "lavka-"+s+"="+new[s])
	}
	if err := t.SetImages(ctx, overlay, set...); err != nil {
		return err
	}
	if _, err := t.Apply(ctx, overlay); err != nil {
		return err
	}
	if _, err := t.Await(ctx, func(now operator.State) error {
		return errors.Join(runs(now, "server", old, new), runs(now, "migrate", old, new))
	}); err != nil {
		return err
	}
	if err := t.Ready(ctx, services...); err != nil {
		return err
	}
	_, err := t.Await(ctx, func(now operator.State) error { return runs(now, "server", new) })
	return err
}

// runs says which service has Pods of other releases than these.
func runs(now operator.State, component string, releases ...release) error {
	for _, s := range services {
		var want []string
		for _, r := range releases {
			want = append(want, r[s])
		}
		slices.Sort(want)
		if is := now.Images[component+" "+s]; !slices.Equal(is, want) {
			return fmt.Errorf("%s has Pods (%s) of %q, instead of %q", s, component, is, want)
		}
	}
	return nil
}

// changeJob changes the memory limit of the migrations without a new release. The template of a Job can't be changed, so there must be a new Job.
func (t *trial) changeJob(ctx context.Context, overlay string) error {
	if err := t.replace("k8s/base/common/migrate.yaml", "memory: 128Mi", "memory: 192Mi"); err != nil {
		return err
	}
	if _, err := t.Apply(ctx, overlay); err != nil {
		return err
	}
	_, err := t.Await(ctx, nil)
	return err
}

func (t *trial) uninstall(ctx context.Context, _ string) error {
	_, err := t.Kubectl(ctx, "delete", "namespace", "lavka", "--timeout=60s")
	return err
}

// replace changes a file of the copy of deploy/.
func (t *trial) replace(file, old, new string) error {
	path := filepath.Join(t.Deploy, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := strings.ReplaceAll(string(text), old, new)
	if changed == string(text) {
		return errors.New(file + " has no " + old)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}
