package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// rival starts a function's container without the platform.
type rival interface {
	// begin has it started, end ends it and removes what is left of it.
	begin(ctx context.Context, id string) error
	end(ctx context.Context, id string) error
}

// bareRunc starts a bundle that was unpacked before, with runc alone.
type bareRunc struct {
	bundle, root string
	running      map[string]*exec.Cmd
}

// newBareRunc makes a bundle of what a replica of the function is: its files, and
// what containerd was told of it, without the mounts of the platform's files.
func (b *box) newBareRunc(ctx context.Context, p *platform, in *netns) (*bareRunc, error) {
	r := &bareRunc{filepath.Join(b.dir, "bundle"), filepath.Join(b.dir, "runc"), map[string]*exec.Cmd{}}
	status, err := p.ready(ctx, benchRef(), 1)
	if err != nil {
		return nil, err
	}
	id := status.Instances[0].ID
	if err := b.copyFiles(id, filepath.Join(r.bundle, "rootfs")); err != nil {
		return nil, err
	}
	text, err := b.ctr(ctx, p.namespace, "containers", "info", id)
	if err != nil {
		return nil, err
	}
	var record struct{ Spec map[string]any }
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		return nil, err
	}
	config, err := json.Marshal(bareSpec(record.Spec, in))
	if err != nil {
		return nil, err
	}
	return r, os.WriteFile(filepath.Join(r.bundle, "config.json"), config, 0o600)
}

// copyFiles copies the file system of a running container.
func (b *box) copyFiles(id, to string) error {
	pids, err := pidsOf(id)
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return fmt.Errorf("no process of %s is to be found", id)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	from := fmt.Sprintf("/proc/%d/root/.", pids[0])
	if output, err := exec.Command("cp", "--archive", "--one-file-system", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp %s: %w: %s", from, err, output)
	}
	return nil
}

// bareSpec changes the description of a container: into another network, another
// control group, and without the mounts that are from a folder of the platform.
func bareSpec(spec map[string]any, in *netns) map[string]any {
	spec["root"].(map[string]any)["path"] = "rootfs"
	linux := spec["linux"].(map[string]any)
	linux["cgroupsPath"] = cgroupParent() + "/runc"
	for _, n := range linux["namespaces"].([]any) {
		if n := n.(map[string]any); n["type"] == "network" {
			n["path"] = in.path
		}
	}
	var mounts []any
	for _, m := range spec["mounts"].([]any) {
		if m.(map[string]any)["type"] != "bind" {
			mounts = append(mounts, m)
		}
	}
	spec["mounts"] = mounts
	return spec
}

func (r *bareRunc) begin(_ context.Context, id string) error {
	r.running[id] = exec.Command("runc", "--root", r.root, "run", "--bundle", r.bundle, id)
	return r.running[id].Start()
}

func (r *bareRunc) end(ctx context.Context, id string) error {
	if output, err := exec.CommandContext(ctx, "runc", "--root", r.root, "kill", id, "KILL").CombinedOutput(); err != nil {
		return fmt.Errorf("runc kill: %w: %s", err, output)
	}
	_ = r.running[id].Wait() // it ends with the status of what was killed
	delete(r.running, id)
	return nil
}

// ctrRun starts an image that was unpacked before, with containerd's own client.
type ctrRun struct {
	box     *box
	image   string
	network func(id string) *netns
}

// ctrNamespace is where ctr has its containers.
const ctrNamespace = "ctr"

// newCtrRun gives containerd's client the function's image.
func (b *box) newCtrRun(ctx context.Context, p *platform, network func(id string) *netns) (*ctrRun, error) {
	names, err := b.ctr(ctx, p.namespace, "images", "list", "--quiet")
	if err != nil {
		return nil, err
	}
	name := strings.Fields(names)
	if len(name) == 0 {
		return nil, fmt.Errorf("containerd has no image in namespace %s", p.namespace)
	}
	file := filepath.Join(b.dir, "image.tar")
	if _, err := b.ctr(ctx, p.namespace, "images", "export", file, name[0]); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	_, err = b.ctr(ctx, ctrNamespace, "images", "import", file)
	return &ctrRun{b, name[0], network}, err
}

func (c *ctrRun) begin(ctx context.Context, id string) error {
	_, err := c.box.ctr(ctx, ctrNamespace, "run", "--detach", "--null-io", "--cgroup", cgroupParent()+"/"+id, "--with-ns", "network:"+c.network(id).path, c.image, id)
	return err
}

func (c *ctrRun) end(ctx context.Context, id string) error {
	if _, err := c.box.ctr(ctx, ctrNamespace, "tasks", "delete", "--force", id); err != nil {
		return err
	}
	_, err := c.box.ctr(ctx, ctrNamespace, "containers", "delete", id)
	return err
}
