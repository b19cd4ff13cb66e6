package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestAPackedImageHasTheProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, file := filepath.Join(dir, "pause"), filepath.Join(dir, "image.tar")
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Pack(file, "lavka/pause:1", program); err != nil {
		t.Fatal(err)
	}
	image, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	files := unpacked(t, image)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	m := manifest[0]
	var config struct {
		Config struct{ Entrypoint []string }
		Rootfs struct {
			IDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files[m.Config], &config); err != nil {
		t.Fatal(err)
	}
	if digest := fmt.Sprintf("sha256:%x", sha256.Sum256(files[m.Layers[0]])); m.RepoTags[0] != "lavka/pause:1" || config.Config.Entrypoint[0] != "/pause" || config.Rootfs.IDs[0] != digest {
		t.Errorf("%+v %+v, and the layer is %s", m, config, digest)
	}
	if err := Pack(file, "lavka/pause", program); err == nil {
		t.Error("an image without a tag is packed")
	}
}

func unpacked(t *testing.T, from io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(from); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
