package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"lofn/bench/load"
)

// ways lead to the same replica of the function: directly, through nginx if
// there is one, and through the gateway. All are TCP to the client; nginx and
// the gateway go on over the function's Unix socket, or to the port that a
// container has.
type ways struct {
	direct  string // address
	nginx   *nginx // nil if it is not installed
	gateway string // address
}

// openWays finds the ways and starts nginx.
func openWays(ctx context.Context, p *platform) (*ways, error) {
	status, err := p.ready(ctx, benchRef(), 1)
	if err != nil {
		return nil, err
	}
	if len(status.Instances) != 1 {
		return nil, fmt.Errorf("the platform lists %s of %s, instead of one", counted(len(status.Instances), "instance"), benchRef())
	}
	w := &ways{gateway: p.address}
	server := status.Instances[0].Address
	if status.Instances[0].Network == "unix" {
		if w.direct, err = p.get(ctx, "/function/bench/listen"); err != nil || w.direct == "" {
			return nil, fmt.Errorf("the function does not listen on a port: %w", err)
		}
		if server, err = p.socket(status.Instances[0]); err != nil {
			return nil, err
		}
		server = "unix:" + server
	} else {
		w.direct = server
	}
	if w.nginx, err = startNginx(ctx, p.dir, server); err != nil {
		return nil, err
	}
	if w.nginx == nil {
		fmt.Print("nginx is not installed, so it is not measured.\n\n")
	}
	return w, nil
}

func (w *ways) close() {
	if w.nginx != nil {
		w.nginx.stop()
	}
}

// to returns the targets for a path of the function. The first is direct; the
// one that ratios are to comes second, if it is there.
func (w *ways) to(method, path string, body []byte) []load.Target {
	to := func(name, address, prefix string) load.Target {
		return load.Target{Name: name, Network: "tcp", Address: address, Method: method, Path: prefix + path, Body: body}
	}
	targets := []load.Target{to(wayDirect, w.direct, "")}
	if w.nginx != nil {
		targets = append(targets, to(wayNginx, w.nginx.address, ""))
	}
	return append(targets, to(wayGateway, w.gateway, "/function/bench"))
}

const (
	wayDirect  = "direct"
	wayNginx   = "nginx"
	wayGateway = "lofn"
)

// get fetches what the platform has at a path.
func (p *platform) get(ctx context.Context, path string) (string, error) {
	target, err := url.JoinPath(p.url, path)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, body)
	}
	return string(body), err
}
