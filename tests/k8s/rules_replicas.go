package main

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

func resources(o *objects) (wrong []string) {
	for _, p := range o.pods() {
		for _, c := range p.containers() {
			r := c.Resources
			if r.Requests.Cpu().IsZero() || r.Requests.Memory().IsZero() || r.Limits.Cpu().IsZero() || r.Limits.Memory().IsZero() {
				wrong = append(wrong, fmt.Sprintf("%s does not say how much it needs and may have: set requests and limits of cpu and memory", p.workload))
				continue
			}
			if _, ours := p.runs(&c); !ours {
				continue
			}
			if p.labels[component] == "server" && r.Requests.Memory().Cmp(*r.Limits.Memory()) != 0 {
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

// servers are the Deployments of the services.
func (o *objects) servers() []*apps.Deployment {
	return slices.DeleteFunc(slices.Clone(o.deployments), func(d *apps.Deployment) bool { return !slices.Contains(services, d.Name) })
}

func gapless(o *objects) (wrong []string) {
	for _, d := range o.servers() {
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
	for _, d := range o.servers() {
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
		case o.overlay == "dev" && least != 1:
			wrong = append(wrong, fmt.Sprintf("%s has %d replicas in dev: one", service, least))
		case o.overlay != "dev" && (least < 2 || most < least):
			wrong = append(wrong, fmt.Sprintf("%s has %d to %d replicas: two at least", service, least, most))
		case !ok || b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.IntValue() != 1:
			wrong = append(wrong, fmt.Sprintf("the PodDisruptionBudget of %s is missing, lets no node be emptied, or lets more than one replica go: maxUnavailable: 1", service))
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
var sessionsOf = map[string]int32{"auth": 21, "catalog": 23, "billing": 17}

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
		at := slices.IndexFunc(o.jobs, func(j *batch.Job) bool { return hash.ReplaceAllString(j.Name, "") == service+"-migrate" })
		if at < 0 {
			wrong = append(wrong, fmt.Sprintf("there is no Job %s-migrate, which brings the schema to the release", service))
			continue
		}
		j := o.jobs[at]
		name := j.Name
		c := container(&j.Spec.Template.Spec)
		if c.Image != container(&d.Spec.Template.Spec).Image || !slices.Equal(c.Args, []string{"migrate"}) {
			wrong = append(wrong, fmt.Sprintf("Job %s runs %s %v, and should run the image of Deployment %s with migrate", name, c.Image, c.Args, service))
		}
		// Half an hour of retries for a table, and hours to build an index (libs/service/pg/migrate.go).
		if limit := j.Spec.ActiveDeadlineSeconds; limit != nil && *limit < 6*60*60 {
			wrong = append(wrong, fmt.Sprintf("Job %s is stopped after %d s, and may need hours: raise activeDeadlineSeconds to 21600", name, *limit))
		}
		owner := service + "-migrate"
		for _, p := range o.pods() {
			uses := slices.ContainsFunc(p.spec.Volumes, func(v core.Volume) bool { return v.Secret != nil && v.Secret.SecretName == owner })
			mine := p.workload == "Job "+name
			alone := "Job " + name
			for _, command := range byHand {
				job := "CronJob " + service + "-" + command.name
				mine = mine || p.workload == job
				alone += " and " + job
			}
			if uses != mine {
				wrong = append(wrong, fmt.Sprintf("%s has, or has not, the Secret %s: the owner's rights are for %s alone", p.workload, owner, alone))
			}
		}
	}
	return wrong
}

// jobNames wants names with a hash, because the API server refuses to change the template of a Job. It warns of names that are no DNS labels.
func jobNames(o *objects) (wrong []string) {
	for _, j := range o.jobs {
		if !hash.MatchString(j.Name) {
			wrong = append(wrong, fmt.Sprintf("a change of Job %s would be refused: set internal.config.kubernetes.io/needsHashSuffix: enabled, as base/common/migrate.yaml does", j.Name))
		}
		for _, why := range validation.IsDNS1123Label(j.Name) {
			wrong = append(wrong, fmt.Sprintf("the API server would warn of the name of Job %s: %s", j.Name, why))
		}
	}
	return wrong
}

// byHand are the commands that operators run with the owner's role, and what they would do if they ran by themselves. Each has a script of its name
// in deploy/k8s.
var byHand = []struct {
	name     string
	args     []string
	disaster string
}{
	{"after-restore", []string{"after-restore"}, "log all users out"},
	{"finish", []string{"migrate", "finish"}, "end the time in which a rollout can be taken back"},
}

func onlyByHand(o *objects) (wrong []string) {
	for _, service := range services {
		for _, command := range byHand {
			c, ok := find(o.cronJobs, service+"-"+command.name)
			d, served := find(o.deployments, service)
			if !ok || !served {
				wrong = append(wrong, fmt.Sprintf("there is no CronJob %s-%s, which deploy/k8s/%[2]s runs", service, command.name))
				continue
			}
			if c.Spec.Suspend == nil || !*c.Spec.Suspend {
				wrong = append(wrong, fmt.Sprintf("CronJob %s runs by itself, and would %s: set suspend", c.Name, command.disaster))
			}
			is := container(&c.Spec.JobTemplate.Spec.Template.Spec)
			if is.Image != container(&d.Spec.Template.Spec).Image || !slices.Equal(is.Args, command.args) {
				wrong = append(wrong, fmt.Sprintf("CronJob %s runs %s %v, and should run the image of Deployment %s with %s", c.Name, is.Image, is.Args, service, strings.Join(command.args, " ")))
			}
		}
	}
	return wrong
}

var daily = regexp.MustCompile(`^\d+ \d+ \* \* \*$`)

// eachDay finds a CronJob, and says what keeps it from running the image of a service with some arguments once a day.
func eachDay(o *objects, name, service string, args ...string) (*batch.CronJob, []string) {
	c, ok := find(o.cronJobs, name)
	d, served := find(o.deployments, service)
	if !ok || !served || c.Spec.Suspend != nil && *c.Spec.Suspend || !daily.MatchString(c.Spec.Schedule) {
		return nil, []string{fmt.Sprintf("the CronJob %s does not run once a day: an alert would fire", name)}
	}
	return c, runs(name, container(&c.Spec.JobTemplate.Spec.Template.Spec), container(&d.Spec.Template.Spec).Image, args)
}

func runs(name string, c *core.Container, image string, args []string) []string {
	if c == nil || c.Image != image || !slices.Equal(c.Args, args) {
		return []string{fmt.Sprintf("the CronJob %s does not run %v of %s, the release that serves", name, args, image)}
	}
	return nil
}

func verified(o *objects) (wrong []string) {
	for _, service := range services {
		_, w := eachDay(o, service+"-verify", service, "verify")
		wrong = append(wrong, w...)
	}
	return wrong
}

// compared wants catalog's books to be written before billing reads them, from a volume that has a limit.
func compared(o *objects) (wrong []string) {
	const name, file = "billing-compare", "/books/catalog"
	c, wrong := eachDay(o, name, "billing", "compare", file)
	if c == nil {
		return wrong
	}
	spec := c.Spec.JobTemplate.Spec.Template.Spec
	d, ok := find(o.deployments, "catalog")
	if !ok || len(spec.InitContainers) != 1 {
		return append(wrong, "the CronJob "+name+" has not the one container that writes catalog's books before")
	}
	first, then := &spec.InitContainers[0], container(&spec)
	wrong = append(wrong, runs(name, first, container(&d.Spec.Template.Spec).Image, []string{"books", file})...)
	for _, v := range spec.Volumes {
		if v.Name != "books" {
			continue
		}
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil {
			wrong = append(wrong, "the CronJob "+name+" may fill its node's disk with books: give the volume books a sizeLimit")
		}
	}
	mounts := func(c *core.Container, readOnly bool) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool {
			return m.Name == "books" && m.MountPath == path.Dir(file) && m.ReadOnly == readOnly
		})
	}
	if !mounts(first, false) || then == nil || !mounts(then, true) {
		wrong = append(wrong, fmt.Sprintf("the CronJob %s must mount books at %s, for catalog to write and for billing to read", name, path.Dir(file)))
	}
	return wrong
}
