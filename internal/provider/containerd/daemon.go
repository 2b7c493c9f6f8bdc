package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"

	"lofn"
)

// daemon is containerd, in the words of this package. Its errors are those of
// package errdefs.
type daemon struct {
	client    *containerd.Client
	namespace string
}

const (
	snapshotter = "overlayfs"
	runtimeName = "io.containerd.runc.v2"
	// oldest is the first release with all that is used here, and still cared
	// for by a distribution (Debian 12).
	oldestMajor, oldestMinor = 1, 6
	// dialTime is how long containerd may take to answer at the start.
	dialTime = 10 * time.Second
)

// dial connects to containerd and makes sure that it will do.
func dial(ctx context.Context, socket, namespace string) (*daemon, error) {
	if err := reachable(socket); err != nil {
		return nil, err
	}
	client, err := containerd.New(socket, containerd.WithDefaultNamespace(namespace), containerd.WithTimeout(dialTime))
	if err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "containerd does not answer at %s: look at `systemctl status containerd`: %w", socket, err)
	}
	d := &daemon{client, namespace}
	if err := d.check(ctx, socket); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return d, nil
}

// reachable tells the reasons apart for which a socket takes no connection.
func reachable(socket string) error {
	if os.Geteuid() != 0 {
		return lofn.Errorf(lofn.Invalid, "containers need root: start lofn as root, or with --provider process")
	}
	conn, err := net.DialTimeout("unix", socket, dialTime)
	switch {
	case err == nil:
		return conn.Close()
	case errors.Is(err, fs.ErrNotExist):
		return lofn.Errorf(lofn.Unavailable, "containerd is not running, or not at %s (--containerd-socket): install it (on Debian: apt install containerd runc) and start it: systemctl start containerd", socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return lofn.Errorf(lofn.Unavailable, "containerd is not running: its socket %s is there, but nobody listens: systemctl start containerd", socket)
	}
	return lofn.Errorf(lofn.Unavailable, "containerd at %s (--containerd-socket) cannot be reached: %w", socket, err)
}

func (d *daemon) check(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	version, err := d.client.Version(ctx)
	if err != nil {
		return lofn.Errorf(lofn.Unavailable, "containerd at %s does not say its version: %w", socket, err)
	}
	if !newEnough(version.Version) {
		return lofn.Errorf(lofn.Invalid, "containerd at %s is version %s, and lofn needs %d.%d or later", socket, version.Version, oldestMajor, oldestMinor)
	}
	if _, err := d.client.SnapshotService(snapshotter).Usage(d.in(ctx), "lofn-is-there-an-overlayfs"); err != nil && !errdefs.IsNotFound(err) {
		return lofn.Errorf(lofn.Invalid, "containerd at %s has no snapshotter %s: %w", socket, snapshotter, err)
	}
	return nil
}

// answers reports whether containerd is there.
func (d *daemon) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	_, err := d.client.Version(ctx)
	return err == nil
}

// newEnough reads versions such as "1.6.20~ds1" and "v2.1.0".
func newEnough(version string) bool {
	first, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	second, _, _ := strings.Cut(rest, ".")
	major, err := strconv.Atoi(first)
	if err != nil {
		return true // what does not number its versions is built from source
	}
	minor, _ := strconv.Atoi(second)
	return major > oldestMajor || major == oldestMajor && minor >= oldestMinor
}

// in is the context for calls that need the namespace in it.
func (d *daemon) in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, d.namespace)
}

// createTask has the container's first process made, which waits to be started,
// and returns its number. Once begun it is not given up: of a request that is
// broken off, containerd 1.6 can leave a shim behind that it does not know.
func (d *daemon) createTask(ctx context.Context, id string, rootfs []mount.Mount, stdout, stderr string) (pid int, err error) {
	request := &tasks.CreateTaskRequest{ContainerID: id, Stdout: stdout, Stderr: stderr}
	for _, m := range rootfs {
		request.Rootfs = append(request.Rootfs, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	through, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTime)
	defer cancel()
	response, err := d.client.TaskService().Create(d.in(through), request)
	if err != nil {
		return 0, errgrpc.ToNative(err)
	}
	return int(response.Pid), nil
}

// createTime is how long runc may take.
const createTime = 2 * time.Minute

func (d *daemon) startTask(ctx context.Context, id string) error {
	_, err := d.client.TaskService().Start(d.in(ctx), &tasks.StartRequest{ContainerID: id})
	return errgrpc.ToNative(err)
}

// killTask ends all processes of a container.
func (d *daemon) killTask(ctx context.Context, id string) error {
	_, err := d.client.TaskService().Kill(d.in(ctx), &tasks.KillRequest{ContainerID: id, Signal: uint32(syscall.SIGKILL), All: true})
	return errgrpc.ToNative(err)
}

// deleteTask removes what is left of a container whose processes have ended,
// once all that they wrote has been passed on, and returns their exit status.
func (d *daemon) deleteTask(ctx context.Context, id string) (status int, err error) {
	// The kernel may have told this process before the shim.
	if _, err := d.client.TaskService().Wait(d.in(ctx), &tasks.WaitRequest{ContainerID: id}); err != nil {
		return 0, errgrpc.ToNative(err)
	}
	response, err := d.client.TaskService().Delete(d.in(ctx), &tasks.DeleteTaskRequest{ContainerID: id})
	if err != nil {
		return 0, errgrpc.ToNative(err)
	}
	return int(response.ExitStatus), nil
}

// task returns what containerd knows of a container's first process.
func (d *daemon) task(ctx context.Context, id string) (status task.Status, pid int, err error) {
	response, err := d.client.TaskService().Get(d.in(ctx), &tasks.GetRequest{ContainerID: id})
	if err != nil {
		return 0, 0, errgrpc.ToNative(err)
	}
	return response.Process.Status, int(response.Process.Pid), nil
}

// containers lists those of a platform.
func (d *daemon) containers(ctx context.Context, platform string) ([]containers.Container, error) {
	return d.client.ContainerService().List(d.in(ctx), fmt.Sprintf("labels.%q==%s", labelPlatform, platform))
}

// forget removes the records of a container that has no task: a lost one is no
// error.
func (d *daemon) forget(ctx context.Context, id string) error {
	err := d.client.ContainerService().Delete(d.in(ctx), id)
	if errdefs.IsNotFound(err) {
		err = nil
	}
	e := d.client.SnapshotService(snapshotter).Remove(d.in(ctx), id)
	if errdefs.IsNotFound(e) {
		e = nil
	}
	return errors.Join(err, e)
}

// raze removes the container with that ID, if there is one, however far it was
// made.
func (d *daemon) raze(ctx context.Context, id string) error {
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := d.killTask(ctx, id)
		if err == nil || errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
			_, err = d.deleteTask(ctx, id)
		}
		if err == nil || errdefs.IsNotFound(err) {
			return d.forget(ctx, id)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// labelRoot keeps containerd's garbage collection from what has it.
const labelRoot = "containerd.io/gc.root"

// snapshot makes the container's own file system above that of its image.
func (d *daemon) snapshot(ctx context.Context, id, parent, platform string) ([]mount.Mount, error) {
	labels := snapshots.WithLabels(map[string]string{labelPlatform: platform, labelRoot: time.Now().UTC().Format(time.RFC3339)})
	mounts, err := d.client.SnapshotService(snapshotter).Prepare(d.in(ctx), id, parent, labels)
	if err != nil {
		return nil, fmt.Errorf("its file system: %w", err)
	}
	return mounts, nil
}

// snapshots lists those that snapshot made.
func (d *daemon) snapshots(ctx context.Context, platform string) (ids []string, err error) {
	err = d.client.SnapshotService(snapshotter).Walk(d.in(ctx), func(_ context.Context, info snapshots.Info) error {
		ids = append(ids, info.Name)
		return nil
	}, fmt.Sprintf("labels.%q==%s", labelPlatform, platform))
	return ids, err
}

// outOfMemory calls for each container of which the kernel has ended a process
// for want of memory, until ctx ends or containerd does.
func (d *daemon) outOfMemory(ctx context.Context, call func(id string)) error {
	envelopes, errs := d.client.Subscribe(ctx, fmt.Sprintf("topic==%q,namespace==%q", topicOOM, d.namespace))
	for {
		select {
		case e := <-envelopes:
			var event events.TaskOOM
			if err := typeurl.UnmarshalTo(e.Event, &event); err == nil {
				call(event.ContainerID)
			}
		case err := <-errs:
			return err
		}
	}
}

// topicOOM is of the events that say so.
const topicOOM = "/tasks/oom"

// explain puts an error of runc or its shim into words that say what to do.
func explain(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "no such file or directory") && strings.Contains(text, "exec:"), strings.Contains(text, "executable file not found"):
		return fmt.Errorf("the image has no such program as it says to run: %w", err)
	case strings.Contains(text, "exec format error"):
		return fmt.Errorf("the image's program is not for this machine's processor, or a script without #!: %w", err)
	case strings.Contains(text, "permission denied") && strings.Contains(text, "exec"):
		return fmt.Errorf("the container's user may not execute the image's program: %w", err)
	case strings.Contains(text, "no space left on device"):
		return fmt.Errorf("the disk of containerd's data is full: %w", err)
	}
	return err
}
