package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"lofn/bench/load"
)

// measureStreams sends and receives a long body in one call, through each way.
func measureStreams(ctx context.Context, p *platform, o options) error {
	w, err := openWays(ctx, p)
	if err != nil {
		return err
	}
	defer w.close()
	size := int64(o.gibibytes) << 30
	rows := [][]string{{"Direction", "Way", "MiB/s", "× nginx", "× direct", "lofn's memory grew by"}}
	for _, direction := range []struct {
		name, path string
		move       func(context.Context, load.Target, int64) error
	}{{"up", "/sink", upload}, {"down", fmt.Sprintf("/emit?bytes=%d", size), download}} {
		targets := w.to("", direction.path, nil)
		for i := range targets {
			if targets[i].Name == wayNginx {
				targets[i].Path = unbuffered + direction.path
			}
		}
		rounds, grown, err := streamInTurns(ctx, targets, o.rounds, p.pid(), func(t load.Target) error { return direction.move(ctx, t, size) })
		if err != nil {
			return err
		}
		for i, t := range targets {
			memory := ""
			if t.Name == wayGateway {
				memory = mebibytes(float64(grown))
			}
			speed := medianOf(rounds[i], load.Result.Rate) * float64(size) / (1 << 20)
			rows = append(rows, []string{direction.name, t.Name, fmt.Sprintf("%.0f", speed), ratio(targets, rounds, i, wayNginx), ratio(targets, rounds, i, wayDirect), memory})
		}
	}
	heading("Streams", "%d GiB in one call, its length known; medians of %d rounds for each, in turn. nginx does not buffer here. Memory is the most that was resident, above what was before the first stream in this direction.", o.gibibytes, o.rounds)
	table(2, rows)
	return nil
}

// streamInTurns returns each stream as a result of one call, and by how much
// the resident memory of a process grew meanwhile.
func streamInTurns(ctx context.Context, targets []load.Target, rounds, pid int, move func(load.Target) error) ([][]load.Result, uint64, error) {
	resident, err := watchMemory(ctx, pid)
	if err != nil {
		return nil, 0, err
	}
	results := make([][]load.Result, len(targets))
	for round := range rounds {
		for turn := range targets {
			i := (round + turn) % len(targets)
			start := time.Now()
			if err := move(targets[i]); err != nil {
				_, _ = resident.stop()
				return nil, 0, fmt.Errorf("%s: %w", targets[i].Name, err)
			}
			results[i] = append(results[i], load.Result{InTime: 1, Elapsed: time.Since(start)})
		}
	}
	grown, err := resident.stop()
	return results, grown, err
}

// streamBlock is what is written and read at a time.
const streamBlock = 256 << 10

// upload sends a body, and has the function say how long it was.
func upload(ctx context.Context, t load.Target, size int64) error {
	answer, text, err := send(ctx, t, size)
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(text); got != fmt.Sprint(size) {
		return fmt.Errorf("the function got %s of %d bytes: %s", got, size, answer.Status)
	}
	return nil
}

// send sends a body, and returns the answer with the text that it has.
func send(ctx context.Context, t load.Target, size int64) (answer *http.Response, text string, err error) {
	conn, stop, err := open(ctx, t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n", t.Path, size))
	if err != nil {
		return nil, "", err
	}
	defer stop()
	block := make([]byte, streamBlock)
	for left := size; left > 0; left -= int64(len(block)) {
		block = block[:min(left, streamBlock)]
		if _, err := conn.Write(block); err != nil {
			return nil, "", fmt.Errorf("after %d bytes: %w", size-left, err)
		}
	}
	if answer, err = http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer, string(body), err
}

// download reads a body to its end.
func download(ctx context.Context, t load.Target, size int64) error {
	conn, stop, err := open(ctx, t, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", t.Path))
	if err != nil {
		return err
	}
	defer stop()
	// A buffer that is smaller than what is read at a time is passed by.
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{answer.Body}, make([]byte, streamBlock))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("%s, after %d of %d bytes: %w", answer.Status, n, size, err)
	}
	return nil
}

// open connects and sends a head. stop ends it, as ctx does.
func open(ctx context.Context, t load.Target, head string) (conn net.Conn, stop func(), err error) {
	if conn, err = (&net.Dialer{}).DialContext(ctx, t.Network, t.Address); err != nil {
		return nil, nil, err
	}
	forget := context.AfterFunc(ctx, func() { conn.Close() })
	stop = func() {
		forget()
		conn.Close()
	}
	if _, err := io.WriteString(conn, head); err != nil {
		stop()
		return nil, nil, err
	}
	return conn, stop, nil
}
