package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// definitions are the CustomResourceDefinitions of the kinds in deploy/k8s, and of those that implementations of the Gateway API read, in the modules of their authors.
var definitions = map[string][]string{
	"github.com/argoproj/argo-cd/v3":                     {"manifests/crds/application-crd.yaml"},
	"github.com/cloudnative-pg/cloudnative-pg":           {"config/crd/bases/postgresql.cnpg.io_clusters.yaml", "config/crd/bases/postgresql.cnpg.io_scheduledbackups.yaml"},
	"github.com/cloudnative-pg/plugin-barman-cloud":      {"config/crd/bases/barmancloud.cnpg.io_objectstores.yaml"},
	"github.com/envoyproxy/gateway":                      {"charts/gateway-helm/crds/generated/gateway.envoyproxy.io_backendtrafficpolicies.yaml", "charts/gateway-helm/crds/generated/gateway.envoyproxy.io_clienttrafficpolicies.yaml"},
	"github.com/external-secrets/external-secrets":       {"config/crds/bases/external-secrets.io_externalsecrets.yaml"},
	"github.com/fluxcd/kustomize-controller":             {"config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"},
	"github.com/fluxcd/source-controller":                {"config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"},
	"github.com/kedacore/keda/v2":                        {"config/crd/bases/keda.sh_scaledobjects.yaml"},
	"github.com/prometheus-operator/prometheus-operator": {"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml", "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"},
	"sigs.k8s.io/gateway-api": {
		"config/crd/standard/gateway.networking.k8s.io_gatewayclasses.yaml", "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
		"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml", "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
		"config/crd/standard/gateway.networking.k8s.io_referencegrants.yaml", "config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml",
	},
}

// Define applies the definitions of the modules that pins requires.
func (o *Operator) Define(ctx context.Context, pins string) (modules []string, err error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json")
	cmd.Dir, cmd.Env = pins, append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go mod download in %s: %w\n%s", pins, err, out)
	}
	var files []string
	for stream := json.NewDecoder(bytes.NewReader(out)); ; {
		var module struct{ Path, Version, Dir string }
		if err := stream.Decode(&module); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(definitions[module.Path]) == 0 {
			return nil, fmt.Errorf("%s requires %s, of which no definition is applied", pins, module.Path)
		}
		for _, file := range definitions[module.Path] {
			files = append(files, filepath.Join(module.Dir, file))
		}
		modules = append(modules, module.Path+" "+module.Version)
	}
	if len(modules) != len(definitions) {
		return nil, fmt.Errorf("%s requires %d modules, and %d have definitions", pins, len(modules), len(definitions))
	}
	return modules, o.ApplyDefinitions(ctx, files...)
}

// ApplyDefinitions applies definitions of custom resources, and waits until the API server serves them. Warnings about them are for their authors.
func (o *Operator) ApplyDefinitions(ctx context.Context, files ...string) error {
	args := []string{"apply", "--server-side"}
	for _, file := range files {
		args = append(args, "-f", file)
	}
	if _, err := o.Kubectl(ctx, args...); err != nil && !errors.Is(err, errWarned) {
		return err
	}
	_, err := o.Kubectl(ctx, "wait", "--for=condition=Established", "customresourcedefinition", "--all", "--timeout=60s")
	return err
}
