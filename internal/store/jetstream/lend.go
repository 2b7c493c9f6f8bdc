package jetstream

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lofn"
)

const (
	// lentSocket is the file in an engine's folder through which a process
	// that has handed the folder over goes on using what is in it.
	lentSocket = "lent.sock"
	// maxSocketPath is what every system takes as the path of a socket.
	maxSocketPath = 100
	// acceptPause is how long to wait where there are too many open files.
	acceptPause = 100 * time.Millisecond
)

// Lend lets processes that have handed the folder over go on with this engine.
// It ends with the engine.
func (e *Engine) Lend() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.loan != nil {
		return nil
	}
	loan, err := newLoan(e.dir, e.broker, e.log)
	if err != nil {
		return lofn.Errorf(lofn.Unavailable, "the store in %s cannot be lent to the process before this one: %w", e.dir, err)
	}
	e.loan = loan
	return nil
}

// loan connects the clients of a socket to a broker.
type loan struct {
	path     string
	listener *net.UnixListener
	broker   *broker
	log      *slog.Logger
	group    sync.WaitGroup

	mu      sync.Mutex
	ended   bool
	clients map[net.Conn]bool
}

func newLoan(dir string, b *broker, log *slog.Logger) (*loan, error) {
	l := &loan{path: filepath.Join(dir, lentSocket), broker: b, log: log, clients: make(map[net.Conn]bool)}
	// One that is there is from a process that was killed: the folder is ours.
	if err := os.Remove(l.path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if err := withSocket(dir, l.listen); err != nil {
		return nil, err
	}
	l.group.Go(l.serve)
	return l, nil
}

func (l *loan) listen(path string) (err error) {
	if l.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path}); err != nil {
		return err
	}
	l.listener.SetUnlinkOnClose(false) // path may be good for now only
	if err = os.Chmod(path, 0o600); err != nil {
		_ = l.listener.Close()
	}
	return err
}

func (l *loan) serve() {
	for {
		client, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.log.Warn("store: a process before this one was not connected", "error", err)
			time.Sleep(acceptPause)
			continue
		}
		if !l.add(client) {
			_ = client.Close()
			return
		}
		l.group.Go(func() { l.splice(client) })
	}
}

func (l *loan) add(client net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients[client] = true
	return !l.ended
}

// splice is a client's connection to the server, until one of them ends it.
func (l *loan) splice(client net.Conn) {
	defer func() {
		_ = client.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.clients, client)
	}()
	own, err := l.broker.InProcessConn()
	if err != nil {
		l.log.Debug("store: a process before this one was not connected", "error", err)
		return
	}
	l.group.Go(func() {
		_, _ = io.Copy(own, client)
		_ = own.Close()
	})
	_, _ = io.Copy(client, own)
	_ = own.Close()
}

// end closes the socket and all connections. It returns when nothing is left.
func (l *loan) end() {
	_ = l.listener.Close()
	if err := os.Remove(l.path); err != nil {
		l.log.Debug("store: a socket was not removed", "error", err)
	}
	l.mu.Lock()
	l.ended = true
	for client := range l.clients {
		_ = client.Close()
	}
	l.mu.Unlock()
	l.group.Wait()
}

// dialLent connects to the engine that another process has opened in dir.
func dialLent(dir string) (conn net.Conn, err error) {
	err = withSocket(dir, func(path string) (err error) {
		conn, err = net.Dial("unix", path)
		return err
	})
	return conn, err
}

// withSocket calls use with a path of the socket in dir that is short enough
// for the kernel.
func withSocket(dir string, use func(path string) error) error {
	path := filepath.Join(dir, lentSocket)
	if len(path) <= maxSocketPath {
		return use(path)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), lentSocket))
}
