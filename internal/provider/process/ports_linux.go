package process

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// ports gives out TCP ports of the loopback interface. They are below those
// that the kernel gives to outgoing connections (32768 and up by default), so
// that none is taken between here and the function's listening.
type ports struct {
	mu   sync.Mutex
	used map[int]bool
}

const firstPort, lastPort = 10_000, 32_767

func (p *ports) acquire() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const span = lastPort - firstPort + 1
	start := rand.IntN(span)
	for i := range span {
		port := firstPort + (start+i)%span
		if !p.used[port] && free(port) {
			p.used[port] = true
			return port, nil
		}
	}
	return 0, errors.New("every port from " + strconv.Itoa(firstPort) + " to " + strconv.Itoa(lastPort) + " is taken")
}

func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, port)
}

// free tries to listen, without the poller of the runtime, which a socket that
// is closed at once has no use for.
func free(port int) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// As most servers do; so it is free to them if it is here.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) != nil {
		return false
	}
	return unix.Bind(fd, local(port)) == nil && unix.Listen(fd, 1) == nil
}

// local is the port's address to the kernel, and loopback to people.
func local(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
