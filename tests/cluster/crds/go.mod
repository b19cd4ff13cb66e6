// The modules that ship the definitions of the custom resources in deploy/k8s. Nothing here is compiled: their YAML files are applied. What tests/k8s requires,
// too, has the same version there, which a test checks.
module lavka/tests/cluster/crds

go 1.26.4

require (
	github.com/argoproj/argo-cd/v3 v3.5.7
	github.com/cloudnative-pg/cloudnative-pg v1.30.0
	github.com/cloudnative-pg/plugin-barman-cloud v0.14.0
	github.com/envoyproxy/gateway v1.6.0
	github.com/external-secrets/external-secrets v1.3.2
	github.com/fluxcd/kustomize-controller v1.9.6
	github.com/fluxcd/source-controller v1.9.6
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
