// Package cgroups gives a run control groups of its own. They outlive a run that is killed, and are then removed by the next one.
package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const mounted, all = "/sys/fs/cgroup", "lavka-cluster"

const version2 = 0x63677270 // the type of its file system, in statfs(2)

// Create returns the path of a group within a run's group, as kubelet is told it.
func Create(run, group string) (string, error) {
	unified, roots, err := hierarchies()
	if err != nil {
		return "", err
	}
	path := filepath.Join(all, run, group)
	for _, root := range roots {
		if err := os.MkdirAll(filepath.Join(root, path), 0o755); err != nil {
			return "", err
		}
		for _, dir := range []string{"", all, filepath.Join(all, run), path} {
			if unified {
				err = delegate(filepath.Join(root, dir))
			}
			if err == nil && dir != "" {
				err = favour(filepath.Join(root, dir))
			}
			if err != nil {
				return "", err
			}
		}
	}
	return "/" + path, nil
}

// favour gives a group sixteen times the processor time that it gets by default. To the scheduler, all Pods together are one among the processes of this
// machine: with thirty others, they would get three percent, and time out.
func favour(dir string) error {
	for name, value := range map[string]string{"cpu.shares": "16384", "cpu.weight": "1600"} { // of version 1 and 2
		file, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		if errors.Is(err, os.ErrNotExist) { // of another version or controller
			continue
		}
		if err == nil {
			_, err = file.WriteString(value)
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			return fmt.Errorf("give %s processor time: %w", dir, err)
		}
	}
	return nil
}

// Remove removes a run's groups. Its processes must have ended.
func Remove(run string) error {
	_, roots, err := hierarchies()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, root := range roots {
		var dirs []string
		err := filepath.WalkDir(filepath.Join(root, all, run), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, dir := range slices.Backward(dirs) {
			if err := syscall.Rmdir(dir); err != nil {
				return fmt.Errorf("remove the control group %s: %w", dir, err)
			}
		}
		_ = syscall.Rmdir(filepath.Join(root, all)) // unless another run has groups there
	}
	return nil
}

// hierarchies returns the roots: one in version 2, one for each controller in version 1.
func hierarchies() (unified bool, roots []string, err error) {
	var of syscall.Statfs_t
	if err := syscall.Statfs(mounted, &of); err != nil {
		return false, nil, fmt.Errorf("no control groups are mounted at %s: %w", mounted, err)
	}
	if of.Type == version2 {
		return true, []string{mounted}, nil
	}
	entries, err := os.ReadDir(mounted)
	for _, e := range entries {
		if e.IsDir() { // the rest are links to directories with several controllers
			roots = append(roots, filepath.Join(mounted, e.Name()))
		}
	}
	return false, roots, err
}

// delegate gives all controllers of a group to the groups in it.
func delegate(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(text)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
			return fmt.Errorf("delegate %s in %s: %w", controller, dir, err)
		}
	}
	return nil
}
