// Package client speaks the control API of lofn, and of anything else that
// keeps the OpenFaaS contract: it deploys and removes functions, reads their
// state and logs, keeps namespaces and secrets, calls functions, and looks after
// calls that nobody waits for.
//
//	c, err := client.New(client.Config{URL: "http://127.0.0.1:8080", User: "admin", Password: "…"})
//	if err != nil { … }
//	functions, err := c.Functions(ctx, "")
//
// Every error that a method returns is a *lofn.Error, so lofn.CodeOf tells
// what to do about it. An answer other than success also wraps a *StatusError,
// and a gateway that did not answer an *UnreachableError.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"lofn"
)

// Config says which gateway a Client talks to, and as whom.
type Config struct {
	// URL is the gateway's address, such as http://127.0.0.1:8080. A path
	// behind the host is kept as a prefix of every request.
	URL string
	// User and Password are sent as basic credentials where User is not empty.
	User, Password string
	// Token is sent as a bearer token. It wins over User and Password.
	Token string
	// UserAgent names the program, "lofn" if empty.
	UserAgent string
	// Transport makes the requests, http.DefaultTransport if nil.
	Transport http.RoundTripper
}

// Client calls one gateway. It is safe for concurrent use. It sets no time
// limit of its own: the context of each call is the limit.
type Client struct {
	base   *url.URL
	config Config
	http   *http.Client
}

// New returns a client. It does not connect yet; the error has code Invalid if
// the URL is not that of an HTTP server.
func New(config Config) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(config.URL, "/"))
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, lofn.Errorf(lofn.Invalid, "gateway: %q is not the address of a gateway: use one such as http://127.0.0.1:8080", config.URL)
	}
	if config.UserAgent == "" {
		config.UserAgent = "lofn"
	}
	return &Client{
		base:   base,
		config: config,
		http: &http.Client{
			Transport: config.Transport,
			// A redirect is a function's own answer, and the control API
			// makes none: following one could carry a request elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// URL returns the gateway's address without a slash at its end.
func (c *Client) URL() string { return c.base.String() }

// request is one call of the control API.
type request struct {
	method string
	path   string
	query  url.Values
	// body is sent as JSON unless nil, answer is decoded from JSON unless nil.
	body, answer any
}

// do sends r and decodes its answer.
func (c *Client) do(ctx context.Context, r request) error {
	res, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	defer drain(res)
	if r.answer == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(r.answer); err != nil {
		return c.badAnswer(ctx, r, err)
	}
	return nil
}

// open sends r and returns the answer if it is a success; the caller drains it.
func (c *Client) open(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	if r.body != nil {
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return nil, lofn.Errorf(lofn.Internal, "encode the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base.String()+r.path, body)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "%s %s: %w", r.method, r.path, err)
	}
	req.URL.RawQuery = r.query.Encode()
	req.Header.Set("Accept", "application/json, application/x-ndjson, text/plain")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	c.authorize(req)
	res, err := c.send(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		defer drain(res)
		return nil, newStatusError(c.URL(), res)
	}
	return res, nil
}

func (c *Client) authorize(req *http.Request) {
	switch {
	case c.config.Token != "":
		req.Header.Set("Authorization", "Bearer "+c.config.Token)
	case c.config.User != "":
		req.SetBasicAuth(c.config.User, c.config.Password)
	}
}

// send makes the request and says which gateway did not answer.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", c.config.UserAgent)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, newUnreachable(req.Context(), c.URL(), false, err)
	}
	return res, nil
}

// badAnswer explains an answer that is no JSON: most often the address is that
// of some other web server.
func (c *Client) badAnswer(ctx context.Context, r request, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return lofn.Errorf(lofn.Internal, "%s%s: the answer is not JSON; is this the address of a gateway?", c.URL(), r.path)
	}
	return newUnreachable(ctx, c.URL(), true, err)
}

// drain lets the connection be used again. What is left of a refused answer is
// read up to a bound, so that it cannot hold the caller.
func drain(res *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	_ = res.Body.Close()
}

// namespaceQuery names the namespace, or leaves the choice to the gateway.
func namespaceQuery(namespace string) url.Values {
	query := url.Values{}
	if namespace != "" {
		query.Set("namespace", namespace)
	}
	return query
}

func isHTML(res *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return kind == "text/html"
}
