package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// target is where to send calls: network and address as for net.Dial.
type target struct {
	name             string
	network, address string
	path             string
}

// result is what one target did under load.
type result struct {
	calls    int
	elapsed  time.Duration
	p50, p99 time.Duration
}

func (r result) rate() float64 { return float64(r.calls) / r.elapsed.Seconds() }

// load calls a target over so many connections, one call at a time on each,
// and fails at the first answer that is not 200. It writes a fixed request and
// reads the answer without net/http's client, to leave the machine to what is
// measured.
func load(ctx context.Context, t target, connections int, d time.Duration) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, d+10*time.Second)
	defer cancel()
	latencies := make([][]time.Duration, connections)
	errs := make([]error, connections)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range connections {
		wg.Go(func() { latencies[i], errs[i] = callUntil(ctx, t, start.Add(d)) })
	}
	wg.Wait()
	elapsed := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	return result{calls: len(all), elapsed: elapsed, p50: all[len(all)/2], p99: all[len(all)*99/100]}, nil
}

func callUntil(ctx context.Context, t target, end time.Time) ([]time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, t.network, t.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	request := []byte("GET " + t.path + " HTTP/1.1\r\nHost: bench\r\nUser-Agent: lofn-bench\r\n\r\n")
	reader := bufio.NewReader(conn)
	var latencies []time.Duration
	for {
		before := time.Now()
		if before.After(end) && len(latencies) > 0 {
			return latencies, nil
		}
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("status %s", answer.Status)
		}
		latencies = append(latencies, time.Since(before))
	}
}

// median returns the round with the median rate.
func median(rounds []result) result {
	sorted := slices.Clone(rounds)
	slices.SortFunc(sorted, func(a, b result) int { return int(a.rate() - b.rate()) })
	return sorted[len(sorted)/2]
}
