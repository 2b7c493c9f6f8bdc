package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"lofn"
)

// What `serve --provider` may be.
const (
	providerProcess    = "process"
	providerContainerd = "containerd"
)

// ContainerOptions are what the flags of `serve` say about containers.
type ContainerOptions struct {
	// Socket is where containerd listens, and Namespace the one of its
	// namespaces that lofn has to itself.
	Socket, Namespace string
	// Subnet has the addresses of the containers.
	Subnet netip.Prefix
	// Standby is for how many functions a container waits, created.
	Standby int
	// Pull and NonRoot are for functions that do not say otherwise.
	Pull    lofn.Pull
	NonRoot bool
}

// containerFlags are the flags, as they were written.
type containerFlags struct {
	getenv                         func(string) string
	o                              ContainerOptions
	subnet, standby, pull, nonRoot string
}

// Defaults of the flags.
const (
	defaultSocket              = "/run/containerd/containerd.sock"
	defaultContainerdNamespace = "lofn"
	defaultSubnet              = "10.62.0.0/16"
	defaultContainerStandby    = 10
)

const (
	// mostContainerStandby is what a machine's networks and processes allow.
	mostContainerStandby = 1000
	// smallestSubnet still has addresses for a dozen replicas.
	smallestSubnet = 28
)

func (c *containerFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.o.Socket, "containerd-socket", cmp.Or(c.getenv("LOFN_CONTAINERD_SOCKET"), defaultSocket), "where containerd listens (LOFN_CONTAINERD_SOCKET)")
	flags.StringVar(&c.o.Namespace, "containerd-namespace", cmp.Or(c.getenv("LOFN_CONTAINERD_NAMESPACE"), defaultContainerdNamespace), "namespace of containerd for the functions, one for each platform (LOFN_CONTAINERD_NAMESPACE)")
	flags.StringVar(&c.subnet, "container-subnet", cmp.Or(c.getenv("LOFN_CONTAINER_SUBNET"), defaultSubnet), "IPv4 addresses for containers, of a network that the machine has no other use for (LOFN_CONTAINER_SUBNET)")
	flags.StringVar(&c.standby, "container-standby", cmp.Or(c.getenv("LOFN_CONTAINER_STANDBY"), strconv.Itoa(defaultContainerStandby)), "for how many functions a container waits, created and not started; 0 for none (LOFN_CONTAINER_STANDBY)")
	flags.StringVar(&c.pull, "image-pull", cmp.Or(c.getenv("LOFN_IMAGE_PULL"), string(lofn.PullAlways)), "when registries are asked for an image that is deployed: always, missing or never; the annotation "+lofn.AnnotationPull+" wins (LOFN_IMAGE_PULL)")
	flags.StringVar(&c.nonRoot, "non-root", c.getenv("LOFN_NON_ROOT"), fmt.Sprintf("run containers as user %d whatever their image says; the annotation %s wins (LOFN_NON_ROOT)", lofn.NonRootUser, lofn.AnnotationNonRoot))
	flags.Lookup("non-root").NoOptDefVal = "true"
	completeFlag(cmd, "image-pull", string(lofn.PullAlways), string(lofn.PullMissing), string(lofn.PullNever))
}

// namespacePattern is what containerd takes for a namespace.
var namespacePattern = regexp.MustCompile(`^[A-Za-z0-9]+([-._][A-Za-z0-9]+)*$`)

func (c *containerFlags) options() (o ContainerOptions, err error) {
	o = c.o
	o.Socket = strings.TrimPrefix(o.Socket, "unix://")
	if !filepath.IsAbs(o.Socket) {
		return o, fmt.Errorf("LOFN_CONTAINERD_SOCKET or --containerd-socket: %q is not the path of a socket: use one such as %s", o.Socket, defaultSocket)
	}
	if len(o.Namespace) > 76 || !namespacePattern.MatchString(o.Namespace) {
		return o, fmt.Errorf("LOFN_CONTAINERD_NAMESPACE or --containerd-namespace: %q is no name for a namespace: use letters and digits, and '-', '_' or '.' between them", o.Namespace)
	}
	if o.Subnet, err = parseSubnet(c.subnet); err != nil {
		return o, fmt.Errorf("LOFN_CONTAINER_SUBNET or --container-subnet: %w", err)
	}
	if o.Standby, err = strconv.Atoi(c.standby); err != nil || o.Standby < 0 || o.Standby > mostContainerStandby {
		return o, fmt.Errorf("LOFN_CONTAINER_STANDBY or --container-standby: %q is not a number from 0 to %d", c.standby, mostContainerStandby)
	}
	if o.Pull, err = lofn.ParsePull(c.pull); err != nil {
		return o, fmt.Errorf("LOFN_IMAGE_PULL or --image-pull: %w", err)
	}
	if o.NonRoot, err = strconv.ParseBool(cmp.Or(c.nonRoot, "false")); err != nil {
		return o, fmt.Errorf("LOFN_NON_ROOT or --non-root: %q is neither true nor false", c.nonRoot)
	}
	return o, nil
}

func parseSubnet(text string) (netip.Prefix, error) {
	subnet, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !subnet.Addr().Is4():
		return subnet, fmt.Errorf("%q is no IPv4 network: use one such as %s", text, defaultSubnet)
	case subnet != subnet.Masked():
		return subnet, fmt.Errorf("%q has bits behind the network's: use %s", text, subnet.Masked())
	case subnet.Bits() > smallestSubnet:
		return subnet, fmt.Errorf("%q is too small for containers: use /%d or a larger network", text, smallestSubnet)
	}
	return subnet, nil
}

// checkProvider refuses what cannot run, before anything is opened. An ordinary
// user must not get as far as to be taken for root in a namespace of its own.
func checkProvider(name string) error {
	switch name {
	case providerProcess:
		return nil
	case providerContainerd:
		if os.Geteuid() != 0 {
			return errors.New("--provider containerd: needs root: start lofn as root, or run functions as processes with --provider process")
		}
		return nil
	}
	return fmt.Errorf("LOFN_PROVIDER or --provider: %q is unknown: use %s or %s", name, providerProcess, providerContainerd)
}
