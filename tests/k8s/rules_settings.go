package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
)

// needed are settings without which a service does not start.
var needed = map[string][]string{
	"auth":    {"DATABASE_URL_FILE", "NATS_URL_FILE", "PUBLIC_URL", "AUTH_SIGNING_KEYS"},
	"catalog": {"DATABASE_URL_FILE", "NATS_URL_FILE", "JWKS_URL"},
	"billing": {"DATABASE_URL_FILE", "NATS_URL_FILE", "JWKS_URL", "PAYMENT_PRIVATE_KEYS_FILE"},
}

func settingsKnown(root string, o *objects) (wrong []string) {
	for _, p := range o.pods() {
		for _, c := range p.containers() {
			service, ours := p.runs(&c)
			if !ours {
				continue
			}
			settings, err := settingsOf(root, service)
			if err != nil {
				return append(wrong, err.Error())
			}
			wrong = append(wrong, settingsOfContainer(o, p, &c, service, settings)...)
		}
	}
	return wrong
}

func settingsOfContainer(o *objects, p pod, c *core.Container, service string, settings map[string]setting) (wrong []string) {
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
		for _, c := range p.containers() {
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
		if len(s.Spec.DataFrom) > 0 && given[s.Spec.Target.Name] == nil {
			given[s.Spec.Target.Name] = []string{} // whatever is there, so only what needs no key by name can use it
		}
	}
	need := func(who, secret string, keys ...string) {
		if elsewhere[secret] != "" {
			return
		}
		if given[secret] == nil {
			wrong = append(wrong, fmt.Sprintf("%s needs Secret %s, which nothing creates: add it to %s", who, secret, where))
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
		for _, c := range p.containers() {
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

// secretsApart keeps a container of one service from the passwords of another, also within a Pod.
func secretsApart(o *objects) (wrong []string) {
	for _, p := range o.pods() {
		for _, c := range p.containers() {
			service, ours := p.runs(&c)
			if !ours {
				continue
			}
			for _, v := range p.spec.Volumes {
				if v.Secret == nil || elsewhere[v.Secret.SecretName] != "" || v.Secret.SecretName == service || strings.HasPrefix(v.Secret.SecretName, service+"-") {
					continue
				}
				if slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.Name == v.Name }) {
					wrong = append(wrong, fmt.Sprintf("container %s of %s can read the Secret %s, which is not of %s: do not mount the volume %s there", c.Name, p.workload, v.Secret.SecretName, service, v.Name))
				}
			}
		}
	}
	return wrong
}

// foreign are images that are not ours.
var foreign = []string{"postgres:18", "nats:2.15-alpine", "caddy:2.11.9-alpine"}

func images(o *objects) (wrong []string) {
	for _, p := range o.pods() {
		for _, c := range p.containers() {
			name, tag, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":")
			if tag == "" || tag == "latest" {
				wrong = append(wrong, fmt.Sprintf("%s runs %s, of no release: give a tag in the overlay's images", p.workload, c.Image))
			}
			service, ours := p.runs(&c)
			if want := "lavka-" + service; ours && name != want || !ours && !slices.Contains(foreign, c.Image) {
				wrong = append(wrong, fmt.Sprintf("%s runs %s, and should run %s, which make images builds, or one of %v", p.workload, c.Image, want, foreign))
			}
		}
	}
	return wrong
}
