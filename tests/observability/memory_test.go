package observability

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// notGo are the containers of Compose whose programs are not written in Go.
var notGo = map[string]bool{"postgres": true, "roles": true}

// Every Go program in a container knows its memory limit, so that the garbage
// collector works harder before the kernel kills the process. tests/k8s checks the
// same for Kubernetes, and the replicas have the same limits in both.
func TestGoKnowsTheMemoryLimitsOfCompose(t *testing.T) {
	t.Parallel()
	var file struct {
		Services map[string]struct {
			Limit       string            `yaml:"mem_limit"`
			Environment map[string]string `yaml:"environment"`
		} `yaml:"services"`
	}
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for name, service := range file.Services {
		if notGo[name] {
			continue
		}
		limit, soft := bytes(service.Limit), bytes(service.Environment["GOMEMLIMIT"])
		if limit == 0 || soft < limit*8/10 || soft > limit*9/10 {
			t.Errorf("%s has mem_limit: %s and GOMEMLIMIT: %s in docker-compose.yml: set GOMEMLIMIT to 80 to 90 %% of it", name, service.Limit, service.Environment["GOMEMLIMIT"])
		}
		checked++
	}
	if checked < 17 {
		t.Errorf("only %d containers were checked", checked)
	}
	if text, err = os.ReadFile("../../deploy/k8s/base/common/deployment.yaml"); err != nil {
		t.Fatal(err)
	}
	replica := file.Services["catalog-1"]
	soft, limit := memLimit.FindStringSubmatch(string(text)), hardLimit.FindStringSubmatch(string(text))
	if soft == nil || limit == nil || bytes(soft[1]) != bytes(replica.Environment["GOMEMLIMIT"]) || bytes(limit[1]) != bytes(replica.Limit) {
		t.Errorf("a replica has %s and GOMEMLIMIT %s in Compose, and %v and %v on Kubernetes: make them the same", replica.Limit, replica.Environment["GOMEMLIMIT"], limit, soft)
	}
}

var (
	memLimit  = regexp.MustCompile(`name: GOMEMLIMIT, value: (\w+)`)
	hardLimit = regexp.MustCompile(`limits: \{.*memory: (\w+)`)
)

// bytes reads a size as Compose (m, g), Go (MiB) and Kubernetes (Mi) write it, or returns 0.
func bytes(size string) int {
	digits := strings.TrimRight(size, "mMgGiB")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	switch unit := strings.ToLower(size[len(digits):]); {
	case strings.HasPrefix(unit, "m"):
		return n << 20
	case strings.HasPrefix(unit, "g"):
		return n << 30
	}
	return 0
}
