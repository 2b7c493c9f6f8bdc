//go:build !linux

package gateway

import (
	"context"
	"net"
)

// loop does not exist here: there is no epoll.
type loop struct{}

func startLoops(*Lane, net.Listener) ([]*loop, error) { return nil, nil }

func (*loop) wait()                        {}
func (*loop) drain()                       {}
func (*loop) shutdown()                    {}
func (*loop) drained(context.Context) bool { return true }
func (*loop) stop()                        {}
