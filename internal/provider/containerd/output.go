package containerd

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"lofn/internal/provider/fleet"
)

// output moves what a container writes from two named pipes to its log. The
// shim holds both ends of each, so what is written while no platform runs waits
// in the pipe; when that is full, so does the container.
type output struct {
	streams []*stream
	moving  sync.WaitGroup
}

// stream is one of the pipes.
type stream struct {
	pipe *os.File
	// hold is an end for writing, so that reading ends when it is closed and
	// not when nobody has begun to write.
	hold *os.File
	to   io.WriteCloser
	tail fleet.Tail
}

// pipeSize is how much a container may write while no platform runs. It is the
// most that Linux gives to everybody, not only to root.
const pipeSize = 1 << 20

const stdoutName, stderrName = "stdout", "stderr"

// openOutput makes the pipes in a folder, unless they are there, and begins to
// read them. Each has a log of its own, since each is cut into lines.
func openOutput(dir string, buffers *fleet.Buffers, log func() io.WriteCloser) (*output, error) {
	o := &output{}
	for _, name := range []string{stdoutName, stderrName} {
		s, err := openStream(filepath.Join(dir, name), log())
		if err != nil {
			o.leave()
			return nil, err
		}
		o.streams = append(o.streams, s)
		o.moving.Go(func() { s.move(buffers) })
	}
	return o, nil
}

func openStream(path string, to io.WriteCloser) (*stream, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	pipe, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	hold, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Join(err, pipe.Close())
	}
	if conn, err := pipe.SyscallConn(); err == nil {
		// Without more room the pipe has what all have.
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
	return &stream{pipe: pipe, hold: hold, to: to}, nil
}

// move passes on what is written until nobody can write any more, or leave.
func (s *stream) move(buffers *fleet.Buffers) {
	defer s.to.Close()
	buffers.Pump(s.pipe, &s.tail, s.to)
}

// end returns when all that was written has been passed on. The container must
// have ended, and its shim closed its ends.
func (o *output) end() {
	for _, s := range o.streams {
		_ = s.hold.Close()
	}
	o.moving.Wait()
	for _, s := range o.streams {
		_ = s.pipe.Close()
	}
}

// leave stops reading; what is written from now on waits for the next reader.
func (o *output) leave() {
	for _, s := range o.streams {
		_ = s.pipe.SetReadDeadline(time.Now())
	}
	o.end()
}

// lastWords is what best says why the container ended. It may be asked for
// after end.
func (o *output) lastWords() string {
	for _, s := range slices.Backward(o.streams) {
		if words := s.tail.LastWords(); words != "" {
			return words
		}
	}
	return ""
}
