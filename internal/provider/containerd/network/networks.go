package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/containernetworking/cni/libcni"
)

// Networks makes, keeps and removes the networks of containers. All methods are
// safe for concurrent use, also by several processes with the same folder.
type Networks struct {
	Config
	gateway  netip.Addr
	plugins  plugins
	firewall firewall
	ledger   *ledger
	// complaint is what the log was last told about the firewall, by New or the
	// keeper.
	complaint string
	// slots bounds how many networks are made or removed at a time.
	slots chan struct{}
	// wanted has the keeper look what there is to do; the keeper ends with
	// keeping, and has ended when kept is closed.
	wanted  chan struct{}
	keeping context.Context
	end     context.CancelFunc
	kept    chan struct{}
	closed  atomic.Bool
}

// New checks that networks can be made here and prepares the machine for them.
// When it returns, the gateway's address can be listened on.
func New(ctx context.Context, c Config) (*Networks, error) {
	n, err := configure(c)
	if err != nil {
		return nil, err
	}
	if err := n.plugins.check(ctx); err != nil {
		return nil, err
	}
	if err := n.open(); err != nil {
		return nil, err
	}
	if err := n.prepare(ctx); err != nil {
		n.ledger.close()
		return nil, err
	}
	go n.keep()
	return n, nil
}

// configure returns Networks that have not touched anything yet.
func configure(c Config) (*Networks, error) {
	c = c.withDefaults()
	if os.Geteuid() != 0 {
		return nil, errors.New("networks of containers can be made by root only: run lofn as root, or without containers")
	}
	if !filepath.IsAbs(c.Dir) {
		return nil, fmt.Errorf("network.Config.Dir: %q is no absolute path", c.Dir)
	}
	c.Subnet = c.Subnet.Masked()
	c.Dir = filepath.Clean(c.Dir)
	if err := checkNames(c.Bridge, c.Subnet); err != nil {
		return nil, err
	}
	n := &Networks{
		Config:   c,
		plugins:  plugins{dirs: c.PluginDirs, cache: filepath.Join(c.Dir, "cni"), timeout: c.Timeout},
		firewall: firewall{bridge: c.Bridge, subnet: c.Subnet, ports: c.Ports},
		slots:    make(chan struct{}, concurrency()),
		wanted:   make(chan struct{}, 1),
		kept:     make(chan struct{}),
	}
	n.keeping, n.end = context.WithCancel(context.Background())
	return n, n.readList()
}

// open makes what files need, in the folder.
func (n *Networks) open() (err error) {
	if err = os.MkdirAll(filepath.Join(n.Dir, namespacesDir), 0o700); err == nil {
		n.ledger, err = openLedger(n.Dir)
	}
	if err != nil {
		return fmt.Errorf("folder for networks of containers: %w", err)
	}
	return nil
}

// namespacesDir and ipamDir are where namespaces are mounted, and where it is
// noted which addresses are taken.
const (
	namespacesDir = "netns"
	ipamDir       = "ipam"
)

func (n *Networks) readList() (err error) {
	if n.ConfList == "" {
		n.plugins.list, err = generated(n.Bridge, n.Subnet, outwardMTU(), filepath.Join(n.Dir, ipamDir))
		return err
	}
	if n.plugins.list, err = libcni.ConfListFromFile(n.ConfList); err != nil {
		return fmt.Errorf("CNI list: %w", err)
	}
	return nil
}

func (n *Networks) prepare(ctx context.Context) error {
	if n.ConfList != "" {
		return n.learnGateway(ctx)
	}
	if err := ensureBridge(n.Config, outwardMTU()); err != nil {
		return err
	}
	n.gateway = gatewayOf(n.Subnet)
	n.openFirewall()
	return nil
}

// learnGateway looks at a network to see what address of the machine's containers
// are told, since only the list knows.
func (n *Networks) learnGateway(ctx context.Context) error {
	example, err := n.example(ctx)
	if err != nil {
		return err
	}
	local, err := isLocal(example.gateway)
	if err == nil && local {
		n.gateway = example.gateway
		return n.ledger.offer(example.id)
	}
	example.Release(ctx)
	if err != nil {
		return fmt.Errorf("addresses of this machine: %w", err)
	}
	return fmt.Errorf("CNI list %s: the gateway of containers is no address of this machine (%s), so they could not reach the platform: set isGateway", n.ConfList, example.gateway)
}

func (n *Networks) example(ctx context.Context) (*Network, error) {
	if id, err := n.ledger.claim(); id != "" && err == nil {
		if waiting, err := n.read(id); err == nil {
			return waiting, nil
		}
		if err := n.ledger.discard(id); err != nil {
			return nil, err
		}
	}
	return n.make(ctx)
}

// openFirewall goes on without what cannot be had: functions that only answer
// calls need none of it.
func (n *Networks) openFirewall() {
	var complaint string
	if err := n.firewall.open(); err != nil {
		complaint = err.Error()
	}
	if complaint != "" && complaint != n.complaint {
		n.Log.Warn("containers may not reach anything beyond this machine", "error", complaint)
	}
	n.complaint = complaint
}

// Gateway is the machine's address on the containers' network: where functions
// reach the platform.
func (n *Networks) Gateway() netip.Addr { return n.gateway }

// Take returns a network for a container, one that waits or else a new one. It
// is this process' until it is released or another process adopts it.
func (n *Networks) Take(ctx context.Context) (*Network, error) {
	if n.keeping.Err() != nil {
		return nil, errors.New("no network for a container: the platform is shutting down")
	}
	defer n.poke()
	for {
		id, err := n.ledger.claim()
		if err != nil {
			return nil, fmt.Errorf("network for a container: %w", err)
		}
		if id == "" {
			return n.make(ctx)
		}
		// A namespace can be gone, or from before the subnet was changed.
		if waiting, err := n.read(id); err == nil && waiting.gateway == n.gateway {
			return waiting, nil
		}
		if err := n.ledger.discard(id); err != nil {
			return nil, fmt.Errorf("network for a container: %w", err)
		}
	}
}

// Adopt returns the network of a container that was started by an earlier
// process, by the ID that it had then. An error says that it is not there any
// more.
func (n *Networks) Adopt(id string) (*Network, error) {
	if strings.ContainsAny(id, "/.") || id == "" {
		return nil, fmt.Errorf("%q is no network's ID", id)
	}
	if err := n.ledger.adopt(id); err != nil {
		return nil, err
	}
	return n.read(id)
}

// Keep removes every network that a process left behind which is no more, also
// those that were only half made, unless used says that a container has it. What
// a process has that is still there is not touched: after an upgrade Keep is to
// be called again when the old process has gone.
func (n *Networks) Keep(ctx context.Context, used func(id string) bool) error {
	return errors.Join(n.ledger.condemn(used), n.bury(ctx))
}

// Close removes the networks that wait, unless another process is there to use
// them, and what has been released. Those in use stay. Closing again does nothing.
func (n *Networks) Close(ctx context.Context) error {
	if n.closed.Swap(true) {
		return nil
	}
	n.end()
	<-n.kept
	defer n.ledger.close()
	shared, err := n.ledger.others()
	if !shared {
		err = errors.Join(err, n.dropSpares())
	}
	return errors.Join(err, n.bury(ctx))
}

// Remove takes everything off the machine that New and Take have put there: all
// networks, the bridge, the rules and the folder. It fails while a process uses
// them.
func Remove(ctx context.Context, c Config) error {
	n, err := configure(c)
	if err == nil {
		err = n.open()
	}
	if err != nil {
		return err
	}
	defer n.ledger.close()
	used, err := n.ledger.others()
	if err != nil {
		return err
	}
	if used {
		return fmt.Errorf("the networks in %s are in use by a process: stop lofn first", n.Dir)
	}
	none := func(string) bool { return false }
	err = errors.Join(n.dropSpares(), n.Keep(ctx, none))
	if n.ConfList == "" {
		err = errors.Join(err, removeBridge(n.Config, n.firewall))
	}
	if err != nil {
		return err
	}
	for _, folder := range []string{ownersDir, spareDir, deadDir, namespacesDir, ipamDir, "cni"} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(n.Dir, folder)))
	}
	_ = os.Remove(n.Dir) // if it is ours alone
	return err
}
