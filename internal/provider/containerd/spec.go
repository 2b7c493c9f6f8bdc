package containerd

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"lofn"
	"lofn/internal/provider/containerd/cgroup"
)

// Addresses under which functions reach the platform.
const (
	gatewayPort = 8080
	gatewayURL  = "http://gateway.openfaas:8080"
)

// spec describes the container to runc. The user's name, if the image has one,
// is looked up in the image's own files.
func (c *container) spec(ctx context.Context, record *containers.Container) (*oci.Spec, error) {
	options := []oci.SpecOpts{
		oci.WithDefaultUnixDevices,
		oci.WithImageConfig(c.image.Record),
		oci.WithEnv(c.environment()),
		oci.WithHostname(c.hostname()),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: c.network.Path()}),
		oci.WithCgroup(c.p.groups.Path(c.id)),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace}),
		oci.WithCapabilities(nil),
		oci.WithNoNewPrivileges,
		oci.WithPidsLimit(int64(c.wants.Pids)),
		oci.WithRlimit(openFiles()),
		oci.WithMounts(c.mounts()),
	}
	if c.nonRoot() {
		options = append(options, oci.WithUIDGID(lofn.NonRootUser, lofn.NonRootUser))
	}
	if c.fn.Spec.ReadOnlyRootFilesystem {
		options = append(options, oci.WithRootFSReadonly())
	}
	options = append(options, c.limits()...)
	// The last one: which system calls are allowed depends on the capabilities.
	options = append(options, seccomp.WithDefaultProfile())
	return oci.GenerateSpec(c.p.daemon.in(ctx), c.p.daemon.client, record, options...)
}

// Some programs try all numbers of files up to the soft limit when they start
// another, so it is not as high as it could be.
const softFiles, hardFiles = 1 << 16, 1 << 20

// openFiles is how many files a process may open: not more than this one may,
// since that can be more than root is allowed to give.
func openFiles() *specs.POSIXRlimit {
	limit := &specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: softFiles, Hard: hardFiles}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err == nil {
		limit.Hard = min(limit.Hard, own.Max)
		limit.Soft = min(limit.Soft, limit.Hard)
	}
	return limit
}

func (c *container) nonRoot() bool {
	if c.wants.NonRoot != nil {
		return *c.wants.NonRoot
	}
	return c.p.config.NonRoot
}

// hostname is the container's ID, as far as Linux has room for it.
func (c *container) hostname() string { return c.id[max(0, len(c.id)-64):] }

// environment returns the variables that are added to the image's.
func (c *container) environment() []string {
	env := maps.Clone(c.fn.Spec.Env)
	if env == nil {
		env = make(map[string]string)
	}
	if c.fn.Spec.Process != "" {
		env[lofn.EnvProcess] = c.fn.Spec.Process
	}
	if policy, _ := c.fn.Policy(); policy.MaxInflight > 0 {
		// The pool counts, and has the calls wait. A second count would learn
		// later that a caller has left, and refuse the next call.
		env[lofn.EnvMaxInflight] = "0"
	}
	for name, value := range watchdogDefaults() {
		if _, set := env[name]; !set && !c.imageSets(name) {
			env[name] = value
		}
	}
	env[lofn.EnvName], env[lofn.EnvNamespace] = c.fn.Name, c.fn.Namespace
	env["LOFN_INSTANCE"] = c.id
	env["gateway_url"], env["OPENFAAS_URL"] = gatewayURL, gatewayURL
	pairs := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		pairs = append(pairs, name+"="+env[name])
	}
	return pairs
}

// watchdogDefaults are values for variables of the watchdogs that neither the
// function nor its image sets.
func watchdogDefaults() map[string]string {
	return map[string]string{
		// The log keeps the time and the instance of each line.
		"prefix_logs": "false",
		// How long to stay up after SIGTERM, so that others see that it leaves. The
		// gateway knows before the signal is sent. OpenFaaS' watchdogs never end
		// with 0.
		"healthcheck_interval": "1ms",
	}
}

func (c *container) imageSets(name string) bool {
	return slices.ContainsFunc(c.image.Env, func(pair string) bool { return strings.HasPrefix(pair, name+"=") })
}

// mounts are what a container has besides the files of its image.
func (c *container) mounts() []specs.Mount {
	bind := func(from, to string, options ...string) specs.Mount {
		return specs.Mount{Type: "bind", Source: from, Destination: to, Options: append(options, "rbind", "nosuid", "nodev")}
	}
	mounts := []specs.Mount{
		// Language runtimes look there for what they may use. The namespace has them
		// see their own group only.
		{Type: "cgroup", Source: "cgroup", Destination: "/sys/fs/cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev", "relatime"}},
		bind(c.file("hosts"), "/etc/hosts", "ro"),
		bind(c.p.file("resolv.conf"), "/etc/resolv.conf", "ro"),
		bind(c.file("hostname"), "/etc/hostname", "ro"),
	}
	if len(c.fn.Spec.Secrets) > 0 {
		mounts = append(mounts, bind(c.file(secretsName), lofn.SecretsPath, "ro", "noexec"))
	}
	if c.fn.Spec.ReadOnlyRootFilesystem {
		mounts = append(mounts, bind(c.tmp(), "/tmp"))
	}
	return mounts
}

// limits are those of the function's resources that it has.
func (c *container) limits() []oci.SpecOpts {
	var options []oci.SpecOpts
	// The amounts were checked when the function was accepted.
	if memory, _ := c.fn.Spec.Limits.MemoryBytes(); memory > 0 {
		options = append(options, oci.WithMemoryLimit(uint64(memory)))
		if c.p.groups.Supports(cgroup.Swap) == nil {
			// A function over its limit is to be ended, not slow.
			options = append(options, oci.WithMemorySwap(memory))
		}
	}
	if milli, _ := c.fn.Spec.Limits.MilliCPU(); milli > 0 {
		options = append(options, oci.WithCPUCFS(milli*cpuPeriod/1000, cpuPeriod))
	}
	if milli, _ := c.fn.Spec.Requests.MilliCPU(); milli > 0 {
		options = append(options, oci.WithCPUShares(uint64(max(2, milli*1024/1000))))
	}
	return options
}

// cpuPeriod is in microseconds; it is what Kubernetes takes.
const cpuPeriod = 100_000

const secretsName = "secrets"

// furnish makes the files that the container finds mounted.
func (c *container) furnish(secrets map[string][]byte) error {
	if err := os.MkdirAll(c.file(secretsName), 0o755); err != nil {
		return err
	}
	files := map[string][]byte{
		"hosts":    c.network.Hosts(c.hostname()),
		"hostname": []byte(c.hostname() + "\n"),
	}
	for name, text := range files {
		if err := os.WriteFile(c.file(name), text, 0o644); err != nil {
			return err
		}
	}
	if c.fn.Spec.ReadOnlyRootFilesystem {
		if err := os.MkdirAll(c.tmp(), 0o777); err != nil {
			return err
		}
		if err := os.Chmod(c.tmp(), 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	for name, value := range secrets {
		if err := c.writeSecret(name, value); err != nil {
			return err
		}
	}
	return nil
}

// writeSecret gives a secret a value in one step. The folder that holds it is
// out of reach for everybody else, so that the function's user may be any.
func (c *container) writeSecret(name string, value []byte) error {
	fresh := c.file(".secret")
	if err := os.WriteFile(fresh, value, 0o444); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(c.file(secretsName), name))
}

// file is one of the container's own, gone after a reboot, tmp its folder on the
// disk.
func (c *container) file(name string) string { return filepath.Join(c.p.dirOf(c.id), name) }
func (c *container) tmp() string             { return filepath.Join(c.p.config.Dir, c.id) }
