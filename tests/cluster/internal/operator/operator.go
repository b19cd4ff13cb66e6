// Package operator does what an operator of the shop does with kubectl and kustomize, and takes a warning of the API server for a failure.
package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"lavka/libs/host/childprocess"
)

// Operator has a cluster, and a copy of deploy/ to change.
type Operator struct {
	Programs   string // directory of kubectl and kustomize
	Kubeconfig string
	Home       string        // directory of the run, and of kubectl's cache
	Deploy     string        // the copy
	Patience   time.Duration // with the controllers, which need seconds
}

var errWarned = errors.New("the API server warned")

// warned matches what kubectl prints of a warning. In its own log the word is in the middle of a line.
var warned = regexp.MustCompile(`(?m)^Warning: `)

// Copy makes the copy.
func (o *Operator) Copy(deploy string) error { return os.CopyFS(o.Deploy, os.DirFS(deploy)) }

// Overlay is the directory of an overlay in the copy.
func (o *Operator) Overlay(name string) string { return filepath.Join(o.Deploy, "k8s/overlays", name) }

// Kubectl runs kubectl and returns its output. It fails if kubectl does, or if the API server has warned.
func (o *Operator) Kubectl(ctx context.Context, args ...string) (string, error) {
	return o.run(ctx, "", nil, "kubectl", args...)
}

// KubectlWith runs kubectl with an input.
func (o *Operator) KubectlWith(ctx context.Context, input []byte, args ...string) (string, error) {
	return o.run(ctx, "", input, "kubectl", args...)
}

// Script runs a script of the copy of deploy/, which finds kubectl on its own.
func (o *Operator) Script(ctx context.Context, path string) (string, error) {
	return o.run(ctx, "", nil, filepath.Join(o.Deploy, path))
}

// Apply applies an overlay, as docs/operations.md does.
func (o *Operator) Apply(ctx context.Context, overlay string, more ...string) (string, error) {
	return o.Kubectl(ctx, append([]string{"apply", "--server-side", "-k", o.Overlay(overlay)}, more...)...)
}

// ApplyText applies objects.
func (o *Operator) ApplyText(ctx context.Context, objects []byte, more ...string) error {
	_, err := o.KubectlWith(ctx, objects, append([]string{"apply", "--server-side", "-f", "-"}, more...)...)
	return err
}

// SetImages changes the release of the services in an overlay.
func (o *Operator) SetImages(ctx context.Context, overlay string, images ...string) error {
	_, err := o.run(ctx, o.Overlay(overlay), nil, "kustomize", append([]string{"edit", "set", "image"}, images...)...)
	return err
}

func (o *Operator) run(ctx context.Context, dir string, stdin []byte, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var out, complaints bytes.Buffer
	if !filepath.IsAbs(program) {
		program = filepath.Join(o.Programs, program)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, bytes.NewReader(stdin), &out, &complaints
	// Without the settings of this user, such as another cluster or a proxy.
	cmd.Env = []string{"HOME=" + o.Home, "PATH=" + o.Programs + ":" + os.Getenv("PATH"), "KUBECONFIG=" + o.Kubeconfig}
	err := childprocess.Start(cmd, childprocess.Options{})
	if err == nil {
		err = cmd.Wait()
	}
	said := strings.TrimSpace(complaints.String())
	if err == nil && warned.MatchString(said) {
		err = errWarned
	}
	if err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, said)
	}
	return out.String(), nil
}
