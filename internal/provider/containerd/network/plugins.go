package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// plugins attach namespaces to the network.
type plugins struct {
	dirs []string
	// cache is where results are kept, for they are asked for on removal.
	cache   string
	timeout time.Duration
	list    *libcni.NetworkConfigList
}

// attachment is what came of adding a namespace to the network.
type attachment struct {
	address netip.Addr
	// gateway is where the namespace's default route goes to.
	gateway netip.Addr
}

// deviceName is the container's end.
const deviceName = "eth0"

// generated is the list of plugins that attach to the bridge. Its version of CNI
// is one that the plugins of all supported distributions know. Masquerading is
// not left to the plugin, which would have a rule for each container, nor is the
// bridge's address, which could not change while there are containers.
func generated(bridge string, subnet netip.Prefix, mtu int, ipam string) (*libcni.NetworkConfigList, error) {
	type object = map[string]any
	content, err := json.Marshal(object{
		"cniVersion": "0.4.0",
		"name":       bridge,
		"plugins": []object{{
			"type":   "bridge",
			"bridge": bridge,
			"mtu":    mtu,
			"ipam": object{
				"type":    "host-local",
				"dataDir": ipam,
				"ranges":  [][]object{{{"subnet": subnet.String(), "gateway": gatewayOf(subnet).String()}}},
				"routes":  []object{{"dst": "0.0.0.0/0"}},
			},
		}},
	})
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(content)
}

// gatewayOf is the first address of a network.
func gatewayOf(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// check looks whether all plugins are there and speak the list's version.
func (p *plugins) check(ctx context.Context) error {
	var names []string
	for _, plugin := range p.list.Plugins {
		names = append(names, plugin.Network.Type)
		if ipam := plugin.Network.IPAM.Type; ipam != "" {
			names = append(names, ipam)
		}
	}
	for _, name := range names {
		if _, err := invoke.FindInPath(name, p.dirs); err != nil {
			return fmt.Errorf("the CNI plugin %q is in none of %s: apt install containernetworking-plugins", name, strings.Join(p.dirs, ", "))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if _, err := p.cni(nil).ValidateNetworkList(ctx, p.list); err != nil {
		return fmt.Errorf("CNI plugins in %s: %w", strings.Join(p.dirs, ", "), err)
	}
	return nil
}

func (p *plugins) cni(lock *os.File) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(p.dirs, p.cache, &runner{lock: lock})
}

// add attaches the namespace at the path. The lock is held until all plugins
// have ended, even if this process ends first.
func (p *plugins) add(ctx context.Context, id, path string, lock *os.File) (attachment, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("the CNI plugins took longer than %s", p.timeout))
	defer cancel()
	answer, err := p.cni(lock).AddNetworkList(ctx, p.list, &libcni.RuntimeConf{ContainerID: id, NetNS: path, IfName: deviceName})
	if err != nil {
		return attachment{}, because(ctx, err)
	}
	result, err := current.NewResultFromResult(answer)
	if err != nil {
		return attachment{}, err
	}
	for _, ip := range result.IPs {
		if address, ok := netip.AddrFromSlice(ip.Address.IP); ok && address.Unmap().Is4() {
			gateway, _ := netip.AddrFromSlice(ip.Gateway)
			return attachment{address: address.Unmap(), gateway: gateway.Unmap()}, nil
		}
	}
	return attachment{}, fmt.Errorf("the CNI plugins of the list %q gave the container no IPv4 address", p.list.Name)
}

// remove undoes add, or a part of it. The path is empty if the namespace is gone.
func (p *plugins) remove(ctx context.Context, id, path string, lock *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("the CNI plugins took longer than %s", p.timeout))
	defer cancel()
	cni, lists := p.cni(lock), []*libcni.NetworkConfigList{p.list}
	// What it was added with may be another list than today's.
	added, err := cni.GetCachedAttachments(id)
	if err == nil && len(added) > 0 {
		lists = lists[:0]
		for _, a := range added {
			then, failed := libcni.ConfListFromBytes(a.Config)
			if failed != nil {
				return failed
			}
			lists = append(lists, then)
		}
	}
	for _, list := range lists {
		err = errors.Join(err, cni.DelNetworkList(ctx, list, &libcni.RuntimeConf{ContainerID: id, NetNS: path, IfName: deviceName}))
	}
	if err != nil {
		return because(ctx, err)
	}
	return nil
}

// because adds to an error why the context of what failed has ended, if it has.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
