package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"lofn/internal/certs"
)

// ports are the listeners for calls, for metrics, and for what containers call.
type ports struct {
	calls, metrics *net.TCPListener
	// inner is nil if there are no containers, or if they reach that for calls.
	inner *net.TCPListener
}

// gatewayPort is where functions in containers expect the gateway: clients of
// the OpenFaaS contract have it in their code.
const gatewayPort = 8080

// openPorts listens at the addresses that the options say, or takes over what
// was inherited: the listeners in the order of ports, and behind them the
// warden's file, if it has one.
func openPorts(o Options, inherited []*os.File, hasWarden bool) (*ports, error) {
	if hasWarden && len(inherited) > 0 {
		inherited = inherited[:len(inherited)-1]
	}
	if len(inherited) >= 2 {
		return inheritPorts(inherited)
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
	return &ports{calls: calls.(*net.TCPListener), metrics: metrics.(*net.TCPListener)}, nil
}

func inheritPorts(files []*os.File) (*ports, error) {
	p := new(ports)
	for i, place := range []**net.TCPListener{&p.calls, &p.metrics, &p.inner} {
		if i == len(files) {
			break
		}
		listener, err := net.FileListener(files[i])
		if err != nil {
			return nil, fmt.Errorf("take over a listener: %w", err)
		}
		files[i].Close()
		tcp, ok := listener.(*net.TCPListener)
		if !ok {
			return nil, fmt.Errorf("take over a listener: %s is not one for TCP", listener.Addr())
		}
		*place = tcp
	}
	return p, nil
}

// reach sees to it that containers reach the platform, without TLS, at the
// address that this machine has for them; an address that is not valid says that
// there are no containers.
func (p *ports) reach(gateway netip.Addr, overTLS bool) error {
	address := netip.AddrPortFrom(gateway, gatewayPort)
	if p.inner != nil && p.inner.Addr().(*net.TCPAddr).AddrPort() == address {
		return nil // inherited
	}
	if p.inner != nil {
		p.inner.Close()
		p.inner = nil
	}
	if !gateway.IsValid() {
		return nil
	}
	calls := p.calls.Addr().(*net.TCPAddr)
	if calls.Port == gatewayPort && (calls.IP.IsUnspecified() || calls.IP.Equal(gateway.AsSlice())) {
		if overTLS {
			return fmt.Errorf("--listen %s: functions in containers call the platform at %s, and without TLS: choose an address with another port for TLS", calls, address)
		}
		return nil
	}
	inner, err := listenAhead(address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("functions in containers call the platform at %s, where something else listens: stop it (ss -ltnp 'sport = :%d' shows which), or choose other addresses with --container-subnet", address, gatewayPort)
	}
	if err != nil {
		return fmt.Errorf("functions in containers call the platform at %s: %w", address, err)
	}
	p.inner = inner
	return nil
}

func (p *ports) close() {
	p.calls.Close()
	p.metrics.Close()
	if p.inner != nil {
		p.inner.Close()
	}
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
