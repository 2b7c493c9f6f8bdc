package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// probeTime bounds how long an answer may take, probePause is between attempts:
// often, but not so that it takes the processors from what is started.
const (
	probeTime  = time.Minute
	probePause = 200 * time.Microsecond
)

// firstAnswer returns how long after began a call was answered with success.
func firstAnswer(ctx context.Context, began time.Time, address, path string) (time.Duration, error) {
	for {
		err := askOnce(address, path)
		took := time.Since(began)
		switch {
		case err == nil:
			return took, nil
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case took > probeTime:
			return 0, fmt.Errorf("no answer on %s within %s: %w", address, probeTime, err)
		}
		nap(probePause)
	}
}

// askOnce makes a call over a connection of its own.
func askOnce(address, path string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(probeTime)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", path); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "HTTP/1.1 200") {
		err = fmt.Errorf("answered %s", strconv.Quote(line))
	}
	return err
}

// containerAddress is where a container is called from inside its network.
const containerAddress = "127.0.0.1:8080"

// timeRival returns how long it takes from starting a container to its first
// answer, and ends it.
func timeRival(ctx context.Context, r rival, in *netns, id string) (took time.Duration, err error) {
	began := time.Now()
	started := make(chan error, 1)
	go func() { started <- r.begin(ctx, id) }()
	err = in.within(func() (err error) {
		took, err = firstAnswer(ctx, began, containerAddress, "/")
		return err
	})
	if e := <-started; e != nil {
		return 0, e
	}
	if e := r.end(ctx, id); err == nil {
		err = e
	}
	return took, err
}
