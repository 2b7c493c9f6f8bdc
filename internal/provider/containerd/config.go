package containerd

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"lofn"
	"lofn/internal/provider/containerd/content"
	"lofn/internal/provider/containerd/network"
)

// Secrets holds the values that functions are given as files.
type Secrets interface {
	// Secret returns the value, or an error with code NotFound.
	Secret(ctx context.Context, namespace, name string) ([]byte, error)
}

// Logs keeps what functions write.
type Logs interface {
	// Writer takes what the processes of one replica write, to be cut into
	// lines.
	Writer(function lofn.Ref, instance string) io.WriteCloser
	// Append adds a line of the platform's own.
	Append(function lofn.Ref, instance, line string)
}

// Config is what a Provider works with.
type Config struct {
	// Socket is where containerd listens, and Namespace the one of its
	// namespaces that holds the functions' images and containers.
	Socket, Namespace string
	// Platform tells the containers of this platform from those of another in
	// the same namespace: letters, digits and '-'. It must stay the same.
	Platform string
	// RunDir is a folder for what a reboot of the machine shall clear, and Dir
	// one on a disk for the temporary files of functions. Both are made if they
	// are missing; no two Providers of different platforms may share one.
	RunDir, Dir string
	// Cgroup is the control group that has those of the containers in it.
	Cgroup string
	// Bridge is the network interface that connects the containers, Subnet
	// their addresses.
	Bridge string
	Subnet netip.Prefix
	// CNIConfig is a file with a list of CNI plugins that makes the networks
	// instead; empty has the bridge.
	CNIConfig string

	Images  content.Source
	Secrets Secrets
	Logs    Logs
	// Drain returns when no call is on the replica any more and none will be
	// sent to it, or when ctx ends. Nil returns at once.
	Drain func(ctx context.Context, r lofn.Replica) error
	// Pull is for functions that do not say otherwise, PullAlways if empty.
	Pull lofn.Pull
	// NonRoot has containers run as lofn.NonRootUser where the function does
	// not say otherwise.
	NonRoot bool
	// Standby is for how many functions, those used last, a container waits
	// that has been made and not started.
	Standby int
	// ReadyTimeout bounds how long a replica may take until it answers, where
	// the function's environment does not say ready_timeout. 0 means 30 s.
	ReadyTimeout time.Duration
	// MaxStarts and Started are as in fleet.Config.
	MaxStarts int
	Started   func(r lofn.Replica)
	// Log receives what concerns the platform; nil discards it.
	Log *slog.Logger
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Drain == nil {
		c.Drain = func(context.Context, lofn.Replica) error { return nil }
	}
	if c.Pull == "" {
		c.Pull = lofn.PullAlways
	}
	if c.ReadyTimeout <= 0 {
		c.ReadyTimeout = 30 * time.Second
	}
	if c.Cgroup == "" {
		c.Cgroup = "/lofn"
	}
	return c
}

// network is what of it concerns the networks.
func (c Config) network() network.Config {
	return network.Config{
		Dir: filepath.Join(c.RunDir, "networks"), Bridge: c.Bridge, Subnet: c.Subnet, ConfList: c.CNIConfig,
		Ports: []uint16{gatewayPort}, Spare: c.Standby + 1, Log: c.Log,
	}
}
