package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"lofn"
)

// Call is one invocation of a function.
type Call struct {
	// Function is who is called; an empty namespace is lofn.DefaultNamespace.
	Function lofn.Ref
	// Path is what follows the function in the URL, empty or with its slash.
	Path string
	// Query is appended to the URL.
	Query url.Values
	// Method is POST if empty.
	Method string
	// Header is sent as it is. The client's credentials are for the control
	// API and are not added: functions must not see them.
	Header http.Header
	// Body is streamed, never held in memory as a whole. Length is its size
	// in bytes, or below 0 if unknown; 0 with a Body means unknown too.
	Body   io.Reader
	Length int64
	// Async queues the call; the answer then says only that it was accepted.
	Async bool
}

// Invoke calls a function and returns its answer as soon as its header is
// there, whatever its status; the caller reads the body as it arrives and
// closes it. Redirects are not followed: they are the function's answer.
func (c *Client) Invoke(ctx context.Context, call Call) (*http.Response, error) {
	method := call.Method
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, c.FunctionURL(call.Function, call.Async)+call.Path, call.Body)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "call %s: %w", call.Function.Name, err)
	}
	req.URL.RawQuery = call.Query.Encode()
	if call.Header != nil {
		req.Header = call.Header.Clone()
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if call.Body != nil && call.Length > 0 {
		req.ContentLength = call.Length
	}
	return c.send(req)
}

// FunctionURL returns the address at which a function is called.
func (c *Client) FunctionURL(function lofn.Ref, async bool) string {
	if function.Namespace == "" {
		function.Namespace = lofn.DefaultNamespace
	}
	road := "/function/"
	if async {
		road = "/async-function/"
	}
	return strings.TrimRight(c.URL(), "/") + road + url.PathEscape(function.Host())
}
