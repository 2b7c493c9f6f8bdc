package process

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
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

func free(port int) bool {
	listener, err := net.Listen("tcp4", loopback(port))
	if err != nil {
		return false
	}
	_ = listener.Close()
	return true
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
