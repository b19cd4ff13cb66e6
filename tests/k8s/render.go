package main

import (
	"fmt"
	"path/filepath"

	cnpg "github.com/cloudnative-pg/cloudnative-pg/api/v1"
	barman "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	envoy "github.com/envoyproxy/gateway/api/v1alpha1"
	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	clientgo "k8s.io/client-go/kubernetes/scheme"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// overlays are what can be applied.
var overlays = []string{"dev", "staging", "production"}

// render builds an overlay as `kubectl apply -k` does, and decodes each object strictly into its real type: a field that the type does not have, or
// that is there twice, is an error.
func render(root, overlay string) (*objects, error) {
	dir := filepath.Join(root, "deploy/k8s/overlays", overlay)
	options := &krusty.Options{LoadRestrictions: types.LoadRestrictionsRootOnly, PluginConfig: types.DisabledPluginConfig()}
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", dir, err)
	}
	scheme, err := knownTypes()
	if err != nil {
		return nil, err
	}
	o := &objects{overlay: overlay}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", overlay, r.CurId(), err)
		}
		object, err := decode(scheme, text)
		if err != nil {
			return nil, fmt.Errorf("%s: %s is not what its type allows: %w", overlay, r.CurId(), err)
		}
		if err := o.add(object); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", overlay, r.CurId(), err)
		}
	}
	return o, nil
}

func decode(scheme *runtime.Scheme, text []byte) (runtime.Object, error) {
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	object, _, err := strict.Decode(text, nil, nil)
	return object, err
}

func knownTypes() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgo.AddToScheme, gateway.Install, envoy.AddToScheme, cnpg.AddToScheme, barmanTypes, keda.AddToScheme, monitoring.AddToScheme, addExternalSecret,
	} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("register types: %w", err)
		}
	}
	return s, nil
}

func barmanTypes(s *runtime.Scheme) error {
	barman.AddKnownTypes(s)
	return nil
}
