package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"

	"lofn"
)

// Logs yields the log lines that q selects, as they arrive and of any length.
// A query that follows goes on until the context ends or the gateway closes
// the stream, which it also does when the function is removed. An error is
// yielded once, last. An empty namespace is the gateway's default; so is
// Since where neither it nor Tail is set.
func (c *Client) Logs(ctx context.Context, q lofn.LogQuery) iter.Seq2[lofn.LogMessage, error] {
	return func(yield func(lofn.LogMessage, error) bool) {
		res, err := c.open(ctx, logRequest(q))
		if err != nil {
			yield(lofn.LogMessage{}, err)
			return
		}
		// Not drained: a stream that is followed has no end.
		defer func() { _ = res.Body.Close() }()
		decoder := json.NewDecoder(res.Body)
		for {
			var message lofn.LogMessage
			err := decoder.Decode(&message)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(message, c.badAnswer(ctx, logRequest(q), err))
				return
			}
			if !yield(message, nil) {
				return
			}
		}
	}
}

func logRequest(q lofn.LogQuery) request {
	query := namespaceQuery(q.Function.Namespace)
	query.Set("name", q.Function.Name)
	query.Set("follow", strconv.FormatBool(q.Follow))
	query.Set("tail", strconv.Itoa(q.Tail))
	if q.Tail <= 0 {
		query.Set("tail", "-1")
	}
	if q.Instance != "" {
		query.Set("instance", q.Instance)
	}
	if !q.Since.IsZero() {
		query.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	return request{method: http.MethodGet, path: "/system/logs", query: query}
}
