package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	core "k8s.io/api/core/v1"
)

var secretFile = regexp.MustCompile(`[a-z.]=([a-z./-]+)`)

// devSecrets has deploy/k8s/dev-secrets make the Secrets of the overlay dev, of files with nothing secret in them, and gives the keys of each.
func devSecrets(root string) (keys map[string][]string, err error) {
	script := filepath.Join(root, "deploy/k8s/dev-secrets")
	text, err := os.ReadFile(script)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "dev-secrets-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files := []string{"nats-passwords"}
	for _, m := range secretFile.FindAllStringSubmatch(string(text), -1) {
		files = append(files, m[1])
	}
	for _, s := range services {
		files = append(files, s+"-migrate-database-url")
	}
	for _, name := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte("OPERATOR_NATS_PASSWORD='$2a'\nAUTH_NATS_PASSWORD='x'\nCATALOG_NATS_PASSWORD='x'\nBILLING_NATS_PASSWORD='x'\n"), 0o600); err != nil {
			return nil, err
		}
	}
	var complaint bytes.Buffer
	cmd := exec.Command(script, dir)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", script, err, complaint.Bytes())
	}
	scheme, err := knownTypes()
	if err != nil {
		return nil, err
	}
	keys = map[string][]string{}
	for i, document := range bytes.Split(out, []byte("---\n")) {
		object, err := decode(scheme, document)
		if i == 0 {
			if namespace, ok := object.(*core.Namespace); err != nil || !ok || namespace.Name != "lavka" {
				return nil, fmt.Errorf("%s does not begin with the namespace, so that a new cluster would refuse the Secrets: %w", script, err)
			}
			continue
		}
		secret, ok := object.(*core.Secret)
		if err != nil || !ok {
			return nil, fmt.Errorf("%s does not print Secrets: %w", script, err)
		}
		keys[secret.Name] = []string{} // a Secret may be empty
		for key, value := range secret.Data {
			if len(value) == 0 {
				return nil, fmt.Errorf("%s prints nothing for %s of %s", script, key, secret.Name)
			}
			keys[secret.Name] = append(keys[secret.Name], key)
		}
	}
	return keys, nil
}
