// Package images makes archives of container images, which a node imports. No registry is asked.
package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Save writes images of Docker to file.
func Save(ctx context.Context, file string, images ...string) error {
	if out, err := exec.CommandContext(ctx, "docker", append([]string{"image", "inspect", "--format", "{{.Id}}"}, images...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("not all images of the overlay are in Docker; `make images VERSION=dev` makes them: %w\n%s", err, out)
	}
	if out, err := exec.CommandContext(ctx, "docker", append([]string{"save", "-o", file}, images...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("docker save: %w\n%s", err, out)
	}
	return nil
}

// Pack writes an image to file that has nothing but a static program.
func Pack(file, image, program string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	name := filepath.Base(program)
	layer, err := archive(entry{name, text})
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"os": "linux", "architecture": runtime.GOARCH,
		"config": map[string]any{"Entrypoint": []string{"/" + name}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return err
	}
	if !strings.Contains(image, ":") {
		return fmt.Errorf("the image %s has no tag, so a node would pull it", image)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{image}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	all, err := archive(entry{"manifest.json", manifest}, entry{"config.json", config}, entry{"layer.tar", layer})
	if err != nil {
		return err
	}
	return os.WriteFile(file, all, 0o644)
}

type entry struct {
	name string
	text []byte
}

func archive(entries ...entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o755, Size: int64(len(e.text))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.text); err != nil {
			return nil, err
		}
	}
	err := w.Close() // writes the end
	return out.Bytes(), err
}
