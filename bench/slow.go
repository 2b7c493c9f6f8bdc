package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"lofn"
)

const (
	slowClients = 2000
	// slowBatches spreads their bytes over the second.
	slowBatches = 10
)

// slowClient is a connection whose request never gets whole.
type slowClient struct {
	net.Conn
	sent int
}

// callSlowly has many clients send a byte of a head each second, and connects
// anew those that the server has had enough of.
func callSlowly(ctx context.Context, p *platform, d lofn.Deployment) (string, error) {
	clients := make([]slowClient, slowClients)
	defer func() {
		for _, c := range clients {
			if c.Conn != nil {
				c.Close()
			}
		}
	}()
	head := fmt.Sprintf("POST /function/%s HTTP/1.1\r\nHost: bench\r\nX-Slow: ", d.Service)
	opened := 0
	_, err := every(ctx, time.Second/slowBatches, func(n int) error {
		for i := n % slowBatches; i < len(clients); i += slowBatches {
			fresh, err := clients[i].creep(ctx, p.address, head)
			if err != nil {
				return err
			}
			if fresh {
				opened++
			}
		}
		return nil
	})
	return fmt.Sprintf("%d connections opened", opened), err
}

// creep sends the next byte. fresh tells that it had to connect for it.
func (c *slowClient) creep(ctx context.Context, address, head string) (fresh bool, err error) {
	if c.Conn != nil {
		next := byte('a')
		if c.sent < len(head) {
			next = head[c.sent]
		}
		c.sent++
		if _, err := c.Write([]byte{next}); err == nil {
			return false, nil
		}
		c.Close()
	}
	c.sent = 0
	c.Conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
	return true, err
}
