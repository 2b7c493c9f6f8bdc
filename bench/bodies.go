package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"lofn"
	"lofn/bench/load"
)

// longCall is what a call took that has a long body, or a long answer.
type longCall struct {
	accepted, ended, fetched time.Duration
	grown                    uint64
}

// measureBodies has a function called asynchronously with a long body, and with
// one that makes a long answer.
func measureBodies(ctx context.Context, p *platform, o options) error {
	up, err := p.affordable(o.asyncGiB)
	if err != nil || up == 0 {
		return err
	}
	down := min(up, 1)
	sent, err := p.callLong(ctx, "/sink", int64(up)<<30, 0)
	if err != nil {
		return err
	}
	answered, err := p.callLong(ctx, fmt.Sprintf("/emit?bytes=%d", down<<30), 0, int64(down)<<30)
	if err != nil {
		return err
	}
	heading("Long bodies, asynchronously", "One call each, on a platform that has done nothing before. The first is to a function that swallows its body, the second to one that answers with it. Memory is the most that was resident from before the submit until the end, above what it was before.")
	row := func(name string, c longCall) []string {
		return []string{name, seconds(c.accepted), seconds(c.ended), seconds(c.fetched), mebibytes(float64(c.grown))}
	}
	table(1, [][]string{
		{"", "202 after", "outcome after", "result fetched in", "lofn's memory grew by"},
		row(fmt.Sprintf("%d GiB to the function", up), sent),
		row(fmt.Sprintf("%d GiB from the function", down), answered),
	})
	return nil
}

// affordable is how many GiB of those that are asked for the disk has room for,
// with one to spare, and says so if it is fewer.
func (p *platform) affordable(asked int) (int, error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(p.dir, &disk); err != nil {
		return 0, err
	}
	// The field types differ between systems.
	room := max(int(int64(disk.Bavail)*int64(disk.Bsize)>>30)-1, 0)
	if room < asked {
		fmt.Printf("The disk has room for %d GiB, so that the long bodies have no more than that.\n\n", room)
	}
	return min(asked, room), nil
}

// callLong makes a call with a body of so many bytes, and fetches the answer:
// so many bytes, or a few that say how many came.
func (p *platform) callLong(ctx context.Context, path string, up, down int64) (c longCall, err error) {
	watch, err := watchMemory(ctx, p.pid())
	if err != nil {
		return c, err
	}
	err = p.timeLong(ctx, path, up, down, &c)
	grown, watchErr := watch.stop()
	if err == nil {
		err = watchErr
	}
	c.grown = grown
	return c, err
}

func (p *platform) timeLong(ctx context.Context, path string, up, down int64, c *longCall) error {
	start := time.Now()
	target := load.Target{Network: "tcp", Address: p.address, Path: "/async-function/" + benchRef().Name + path}
	answer, text, err := send(ctx, target, up)
	if err != nil {
		return err
	}
	id := answer.Header.Get(lofn.HeaderCallID)
	if answer.StatusCode != http.StatusAccepted {
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	c.accepted = time.Since(start)
	if err := p.succeeded(ctx, id); err != nil {
		return err
	}
	c.ended = time.Since(start)
	result := "/async-function/calls/" + id + "/result"
	start = time.Now()
	if down > 0 {
		target.Path = result
		err = download(ctx, target, down)
	} else if text, err = p.get(ctx, result); err == nil && strings.TrimSpace(text) != fmt.Sprint(up) {
		err = fmt.Errorf("the function got %s of %d bytes", text, up)
	}
	c.fetched = time.Since(start)
	return err
}

// succeeded waits for the outcome of a call.
func (p *platform) succeeded(ctx context.Context, id string) error {
	for {
		call, err := p.CallDetail(ctx, id)
		if err != nil {
			return err
		}
		if call.State == lofn.CallSucceeded {
			return nil
		}
		if call.State.Final() || call.Attempts > 1 {
			return fmt.Errorf("call %s is %s: %s", id, call.State, call.Reason)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}
