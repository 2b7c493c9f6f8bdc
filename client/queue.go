package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lofn"
)

const queuePath = "/system/queue"

// QueueCounts tells what the queue holds of each function of a namespace, or of
// all where it is empty.
func (c *Client) QueueCounts(ctx context.Context, namespace string) ([]lofn.QueueCounts, error) {
	counts := []lofn.QueueCounts{}
	err := c.do(ctx, request{
		method: http.MethodGet, path: queuePath, query: namespaceQuery(namespace), answer: &counts,
	})
	return counts, err
}

// Calls lists the calls that q selects, the oldest first; without a limit the
// gateway chooses one.
func (c *Client) Calls(ctx context.Context, q lofn.CallQuery) ([]lofn.CallStatus, error) {
	query := namespaceQuery(q.Namespace)
	if q.Name != "" {
		query.Set("function", q.Name)
	}
	if len(q.States) > 0 {
		states := make([]string, len(q.States))
		for i, state := range q.States {
			states[i] = string(state)
		}
		query.Set("state", strings.Join(states, ","))
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	calls := []lofn.CallStatus{}
	err := c.do(ctx, request{method: http.MethodGet, path: queuePath + "/calls", query: query, answer: &calls})
	return calls, err
}

// CallDetail returns a call with its request, or an error with code NotFound.
func (c *Client) CallDetail(ctx context.Context, id string) (lofn.CallDetail, error) {
	var detail lofn.CallDetail
	err := c.do(ctx, request{method: http.MethodGet, path: callPath(id, ""), answer: &detail})
	return detail, err
}

// CallResult returns the answer that a call ended with; the caller closes its
// body. Size is below 0 if the gateway did not say it. The error has code
// Conflict if the call has no outcome yet, NotFound if there is no such call or
// it ended without an answer.
func (c *Client) CallResult(ctx context.Context, id string) (lofn.Result, error) {
	res, err := c.open(ctx, request{method: http.MethodGet, path: callPath(id, "/result")})
	if err != nil {
		return lofn.Result{}, conflict(err)
	}
	status, err := strconv.Atoi(res.Header.Get(lofn.HeaderFunctionStatus))
	if err != nil {
		drain(res)
		return lofn.Result{}, lofn.Errorf(lofn.Internal, "%s: the result of call %s has no %s; is this the address of a gateway?",
			c.URL(), id, lofn.HeaderFunctionStatus)
	}
	took, _ := strconv.ParseFloat(res.Header.Get(lofn.HeaderDurationSeconds), 64)
	return lofn.Result{
		Status: status, Header: res.Header, Size: res.ContentLength, Body: res.Body,
		Duration: time.Duration(took * float64(time.Second)),
	}, nil
}

// RedriveCall queues a dead call again; the error has code Conflict if it is
// not dead.
func (c *Client) RedriveCall(ctx context.Context, id string) (lofn.CallStatus, error) {
	return c.changeCall(ctx, id, "/redrive")
}

// CancelCall calls a call off. If it runs, it is cancelled when it has stopped,
// and the status is still that of a call that runs. The error has code Conflict
// if it had its outcome already.
func (c *Client) CancelCall(ctx context.Context, id string) (lofn.CallStatus, error) {
	return c.changeCall(ctx, id, "/cancel")
}

// DropCall forgets a dead call; the error has code Conflict if it is not dead.
func (c *Client) DropCall(ctx context.Context, id string) error {
	return conflict(c.do(ctx, request{method: http.MethodDelete, path: callPath(id, "")}))
}

func (c *Client) changeCall(ctx context.Context, id, what string) (lofn.CallStatus, error) {
	var status lofn.CallStatus
	err := c.do(ctx, request{method: http.MethodPost, path: callPath(id, what), answer: &status})
	return status, conflict(err)
}

func callPath(id, what string) string { return queuePath + "/calls/" + url.PathEscape(id) + what }

// conflict gives 409 the code that it has here. Of other things it says that
// they exist already.
func conflict(err error) error {
	if lofn.CodeOf(err) != lofn.Exists {
		return err
	}
	return lofn.Errorf(lofn.Conflict, "%w", err)
}
