package client

import (
	"context"
	"net/http"
	"net/url"

	"lofn"
)

const functionsPath = "/system/functions"

// Functions lists the functions of a namespace, or of the gateway's default
// namespace where it is empty, each with the number of its calls.
func (c *Client) Functions(ctx context.Context, namespace string) ([]lofn.FunctionStatus, error) {
	functions := []lofn.FunctionStatus{}
	err := c.do(ctx, request{
		method: http.MethodGet, path: functionsPath, query: namespaceQuery(namespace), answer: &functions,
	})
	return functions, err
}

// Function returns one function with what it consumes, or an error with code
// NotFound. An empty namespace is the gateway's default.
func (c *Client) Function(ctx context.Context, ref lofn.Ref) (lofn.FunctionStatus, error) {
	query := namespaceQuery(ref.Namespace)
	query.Set("usage", "1")
	var function lofn.FunctionStatus
	err := c.do(ctx, request{
		method: http.MethodGet, path: "/system/function/" + url.PathEscape(ref.Name), query: query, answer: &function,
	})
	return function, err
}

// Deploy updates the function, or creates it if there is none by that name,
// and reports which of the two it did. It returns when the gateway accepted
// the function, not when the function is ready.
func (c *Client) Deploy(ctx context.Context, deployment lofn.Deployment) (created bool, err error) {
	err = c.Update(ctx, deployment)
	if lofn.CodeOf(err) == lofn.NotFound {
		return true, c.Create(ctx, deployment)
	}
	return false, err
}

// Create deploys a function that does not exist yet.
func (c *Client) Create(ctx context.Context, deployment lofn.Deployment) error {
	return c.do(ctx, request{method: http.MethodPost, path: functionsPath, body: deployment})
}

// Update changes a function; the error has code NotFound if there is none.
func (c *Client) Update(ctx context.Context, deployment lofn.Deployment) error {
	return c.do(ctx, request{method: http.MethodPut, path: functionsPath, body: deployment})
}

// Remove ends a function; the error has code NotFound if there is none.
func (c *Client) Remove(ctx context.Context, ref lofn.Ref) error {
	return c.do(ctx, request{
		method: http.MethodDelete, path: functionsPath, query: namespaceQuery(ref.Namespace),
		body: lofn.DeleteRequest{FunctionName: ref.Name, Namespace: ref.Namespace},
	})
}

// Scale asks for so many replicas of a function.
func (c *Client) Scale(ctx context.Context, ref lofn.Ref, replicas uint64) error {
	return c.do(ctx, request{
		method: http.MethodPost, path: "/system/scale-function/" + url.PathEscape(ref.Name),
		query: namespaceQuery(ref.Namespace),
		body:  lofn.ScaleRequest{ServiceName: ref.Name, Replicas: &replicas, Namespace: ref.Namespace},
	})
}

// Info returns the versions of gateway and provider.
func (c *Client) Info(ctx context.Context) (lofn.Info, error) {
	var info lofn.Info
	err := c.do(ctx, request{method: http.MethodGet, path: "/system/info", answer: &info})
	return info, err
}

// Healthy returns nil if the gateway serves. It needs no credentials.
func (c *Client) Healthy(ctx context.Context) error {
	return c.do(ctx, request{method: http.MethodGet, path: "/healthz"})
}
