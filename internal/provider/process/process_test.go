//go:build linux

package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/provider/process"
	"lofn/internal/provider/providertest"
)

func TestConformanceServers(t *testing.T) {
	providertest.Run(t, providertest.Harness{
		Provider: provider,
		Function: func(_ *testing.T, ref lofn.Ref, text string) lofn.Function {
			fn := function(ref.Name, "self", "answer="+text)
			fn.Ref = ref
			return fn
		},
		Broken: func(_ *testing.T, ref lofn.Ref) lofn.Function {
			return function(ref.Name, "self", "act=exit")
		},
		Crash: func(t *testing.T, _ lofn.Provider, r lofn.Replica) {
			if answer, err := call(t.Context(), r, "/crash", ""); err == nil {
				t.Errorf("the replica was to crash and answered %q", answer)
			}
		},
	})
}

func TestConformanceForks(t *testing.T) {
	providertest.Run(t, providertest.Harness{
		Provider: provider,
		Function: func(_ *testing.T, ref lofn.Ref, text string) lofn.Function {
			fn := function(ref.Name, "self", "mode=streaming", "fprocess=echo -n "+text)
			fn.Ref = ref
			return fn
		},
		Broken: func(_ *testing.T, ref lofn.Ref) lofn.Function {
			return function(ref.Name, "self", "mode=streaming", "fprocess=no-such-program")
		},
	})
}

func provider(t *testing.T, drain func(context.Context, lofn.Replica) error) lofn.Provider {
	r := newRig(t, func(c *process.Config) { c.Drain = drain })
	r.self()
	return r
}

// call sends the body to a path of the replica and returns its answer.
func call(ctx context.Context, r lofn.Replica, path, body string) (string, error) {
	var dialer net.Dialer
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, r.Network, r.Address)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://replica"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("status %d", resp.StatusCode))
	}
	return string(answer), err
}
