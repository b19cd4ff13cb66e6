package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/nats-io/nats-server/v2/conf"
	"sigs.k8s.io/yaml"
)

var (
	variable = regexp.MustCompile(`\$([A-Z]+_NATS_PASSWORD)`)
	verbatim = regexp.MustCompile(`"<< (.*?) >>"`) // what the chart hands on as it stands
)

// natsAsConfigured holds the chart's values against nats.conf, which all other servers of the shop read.
func natsAsConfigured(root string, o *objects) (wrong []string) {
	if !o.uses("nats-passwords") {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy/nats/nats.conf"))
	if err != nil {
		return []string{err.Error()}
	}
	want, err := conf.Parse(variable.ReplaceAllString(string(text), "$1"))
	if err != nil {
		return []string{err.Error()}
	}
	values, err := os.ReadFile(filepath.Join(root, "deploy/k8s/components/nats/values.yaml"))
	if err != nil {
		return []string{err.Error()}
	}
	var chart struct {
		Config struct {
			Cluster   struct{ Replicas int }
			JetStream struct {
				MemoryStore struct{ MaxSize string }
				FileStore   struct{ PVC struct{ Size string } }
			}
			Merge map[string]any
		}
		Container struct{ Env map[string]any }
	}
	if err := yaml.Unmarshal(values, &chart); err != nil {
		return []string{err.Error()}
	}
	merged, err := json.Marshal(chart.Config.Merge)
	if err != nil {
		return []string{err.Error()}
	}
	unescaped := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(merged))
	got, err := conf.Parse(variable.ReplaceAllString(verbatim.ReplaceAllString(unescaped, "$1"), "$1"))
	if err != nil {
		return []string{"components/nats/values.yaml makes no configuration: " + err.Error()}
	}
	for _, name := range []string{"accounts", "max_payload"} {
		if !reflect.DeepEqual(got[name], want[name]) {
			wrong = append(wrong, fmt.Sprintf("%s in components/nats/values.yaml is not that of deploy/nats/nats.conf: it is %v, and should be %v", name, got[name], want[name]))
		}
	}
	if chart.Config.Cluster.Replicas < 3 {
		wrong = append(wrong, "NATS has fewer than three servers: config.cluster.replicas")
	}
	if chart.Config.JetStream.MemoryStore.MaxSize != "1Gi" {
		wrong = append(wrong, "config.jetstream.memoryStore.maxSize is not 1Gi, which nats.conf has")
	}
	for _, m := range variable.FindAllStringSubmatch(string(text), -1) {
		if chart.Container.Env[m[1]] == nil {
			wrong = append(wrong, fmt.Sprintf("components/nats/values.yaml does not give NATS %s: add it to container.env", m[1]))
		}
	}
	return wrong
}
