package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"lofn/internal/certs"
)

// ports are the listeners for calls and for metrics.
type ports struct{ calls, metrics *net.TCPListener }

// openPorts listens at the addresses that the options say, or takes over what
// was inherited.
func openPorts(o Options, inherited []*os.File) (*ports, error) {
	if len(inherited) >= 2 {
		return inheritPorts(inherited[0], inherited[1])
	}
	calls, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, portError("--listen", o.Listen, err)
	}
	metrics, err := net.Listen("tcp", o.MetricsListen)
	if err != nil {
		calls.Close()
		return nil, portError("--metrics-listen", o.MetricsListen, err)
	}
	return &ports{calls.(*net.TCPListener), metrics.(*net.TCPListener)}, nil
}

func inheritPorts(files ...*os.File) (*ports, error) {
	var listeners [2]*net.TCPListener
	for i, file := range files {
		listener, err := net.FileListener(file)
		if err != nil {
			return nil, fmt.Errorf("take over a listener: %w", err)
		}
		file.Close()
		tcp, ok := listener.(*net.TCPListener)
		if !ok {
			return nil, fmt.Errorf("take over a listener: %s is not one for TCP", listener.Addr())
		}
		listeners[i] = tcp
	}
	return &ports{listeners[0], listeners[1]}, nil
}

func (p *ports) close() {
	p.calls.Close()
	p.metrics.Close()
}

// portError says which flag to change when an address cannot be had.
func portError(flag, address string, err error) error {
	cause := errors.Unwrap(err) // without what package net says of the address
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s %s: %w: is another lofn running? choose another address with %s", flag, address, cause, flag)
	}
	return fmt.Errorf("%s %s: %w: choose an address of this machine and a port, such as 127.0.0.1:8080", flag, address, cause)
}

// addressOf is where this machine reaches the listener.
func addressOf(l net.Listener) string {
	address := l.Addr().(*net.TCPAddr)
	if address.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", address.Port)
	}
	return address.String()
}

// urlOf is where clients on this machine reach the listener; certificate is nil
// if it does not speak TLS.
func urlOf(l net.Listener, certificate *certs.Files) string {
	address := addressOf(l)
	if certificate == nil {
		return "http://" + address
	}
	host, port, _ := net.SplitHostPort(address)
	return "https://" + net.JoinHostPort(certificate.Host(host), port)
}
