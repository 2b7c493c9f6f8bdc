package containerd

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// upstream looks whether the function listens where its watchdog passes calls
// on to: of-watchdog is well as soon as it has started its function, and answers
// calls with 500 until that listens.
func (c *container) upstream() error {
	if port := upstreamPort(c.variable); port != 0 && !c.process.listensOn(port) {
		return fmt.Errorf("the watchdog listens, but not the function, which shall do so on port %d (upstream_url)", port)
	}
	return nil
}

// variable returns the value of a variable of the container.
func (c *container) variable(name string) string {
	for _, pair := range c.env {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// upstreamPort is the port on which the function must listen inside of its
// container, 0 if it need not or cannot be told.
func upstreamPort(variable func(name string) string) uint16 {
	if variable("mode") != "http" {
		return 0
	}
	upstream, err := url.Parse(cmp.Or(variable("http_upstream_url"), variable("upstream_url")))
	if err != nil || upstream.Scheme != "http" {
		return 0
	}
	address, err := netip.ParseAddr(upstream.Hostname())
	if upstream.Hostname() != "localhost" && (err != nil || !address.IsLoopback()) {
		return 0
	}
	port, err := strconv.ParseUint(cmp.Or(upstream.Port(), "80"), 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}
