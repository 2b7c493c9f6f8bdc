//go:build linux

package process_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"lofn"
	"lofn/internal/invoke"
	"lofn/internal/pool"
)

// hanging is a function that hangs, for "/hang", once it has begun to answer.
var hanging = map[string]string{"handler": "#!/bin/sh\nif [ \"$Http_Path\" = /hang ]; then echo begun; sleep 1000; fi\necho meow\n"}

// lend deploys a function and returns what calls it.
func (r *rig) lend(fn lofn.Function) *invoke.Caller {
	p := pool.New(pool.Config{})
	p.Declare(fn)
	r.ensure(fn)
	for _, replica := range r.ready(fn, 1) {
		p.Update(replica)
	}
	caller := invoke.NewCaller(p)
	r.t.Cleanup(caller.Close)
	return caller
}

// TestAFreedPlaceIsFree has callers leave: the pool lets the next call go at
// once, when the watchdog has not ended the work of the one before yet.
func TestAFreedPlaceIsFree(t *testing.T) {
	r := newRig(t)
	r.image("cat", hanging, "mode=streaming", "fprocess=./handler", "max_inflight=1")
	fn := function("cat", "cat")
	resolved, err := r.Resolve(t.Context(), fn)
	must(t, err)
	fn.Defaults = resolved.Defaults
	caller := r.lend(fn)
	for range 20 {
		ctx, leave := context.WithCancel(t.Context())
		resp, err := caller.Call(fn.Ref, get(t, ctx, "/hang"))
		must(t, err)
		_, err = io.ReadFull(resp.Body, make([]byte, len("begun")))
		must(t, err)
		next := make(chan string)
		go func() {
			resp, err := caller.Call(fn.Ref, get(t, t.Context(), "/"))
			if err != nil {
				next <- err.Error()
				return
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			next <- string(text)
		}()
		leave()
		if got := <-next; got != "meow\n" {
			t.Errorf("the next call got %q", got)
		}
		resp.Body.Close()
	}
}

// TestALimitThatOnlyTheWatchdogKnows is that of an image whose function was
// stored before images were asked for their limits.
func TestALimitThatOnlyTheWatchdogKnows(t *testing.T) {
	r := newRig(t)
	r.image("cat", hanging, "mode=streaming", "fprocess=./handler", "max_inflight=1")
	fn := function("cat", "cat")
	caller := r.lend(fn)
	for _, call := range []struct {
		path   string
		status int
	}{{"/hang", http.StatusOK}, {"/", http.StatusTooManyRequests}} {
		resp, err := caller.Call(fn.Ref, get(t, t.Context(), call.path))
		must(t, err)
		defer resp.Body.Close()
		if resp.StatusCode != call.status {
			t.Errorf("%s: got %d, want %d", call.path, resp.StatusCode, call.status)
		}
	}
}

func get(t *testing.T, ctx context.Context, path string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", path, nil)
	if err != nil {
		t.Error(err)
	}
	return req
}
