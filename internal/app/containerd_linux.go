package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"lofn"
	"lofn/internal/provider/containerd"
	"lofn/internal/provider/containerd/network"
)

// openContainerd makes the provider that speaks to containerd.
func openContainerd(ctx context.Context, p *platform) (containers, error) {
	c, err := containerdConfig(p.options, p.data)
	if err != nil {
		return nil, err
	}
	c.Images, c.Secrets, c.Logs = p.images, secretValues{p.secrets}, p.journal
	c.Drain, c.Started, c.Log = p.drain, p.metrics.ReplicaStarted, p.log
	return containerd.New(ctx, c)
}

// containerdConfig says where a platform's containers are and what they have
// around them.
func containerdConfig(o Options, data *dataDir) (containerd.Config, error) {
	id, err := data.id()
	if err != nil {
		return containerd.Config{}, err
	}
	return containerd.Config{
		Socket: o.Containers.Socket, Namespace: o.Containers.Namespace, Platform: id,
		RunDir: filepath.Join("/run/lofn", id), Dir: data.join("containers"), Cgroup: "/lofn/" + id,
		Bridge: bridgeOf(o.Containers.Subnet), Subnet: o.Containers.Subnet,
		Standby: o.Containers.Standby, Pull: o.Containers.Pull, NonRoot: o.Containers.NonRoot,
	}, nil
}

// bridgeOf names the interface that connects containers: of several platforms
// on a machine each has its own, as each has its addresses.
func bridgeOf(subnet netip.Prefix) string {
	if subnet == netip.MustParsePrefix(network.DefaultSubnet) {
		return network.DefaultBridge
	}
	return fmt.Sprintf("lofn-%x", subnet.Addr().As4())
}

var idPattern = regexp.MustCompile(`^[a-z0-9]{10}$`)

// id tells this platform from others for as long as there is its data.
func (d *dataDir) id() (string, error) {
	file := d.join("platform-id")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		id := strings.ToLower(rand.Text()[:10])
		return id, os.WriteFile(file, []byte(id+"\n"), 0o600)
	}
	id := strings.TrimSpace(string(text))
	if err == nil && !idPattern.MatchString(id) {
		err = lofn.Errorf(lofn.Internal, "%s is damaged: it holds %q, and should hold what its containers are labelled with (ctr containers info)", file, id)
	}
	return id, err
}

// Clear removes what a platform has left on the machine outside its data:
// containers with all that they have around them. The platform must not run.
func Clear(ctx context.Context, o Options) error {
	if o.Provider != ProviderContainerd {
		return nil
	}
	data := &dataDir{path: o.Data}
	if _, err := os.Stat(data.join("platform-id")); errors.Is(err, fs.ErrNotExist) {
		return nil // it never had any
	}
	c, err := containerdConfig(o, data)
	if err != nil {
		return err
	}
	return containerd.Remove(ctx, c)
}
