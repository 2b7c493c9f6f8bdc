package client

import (
	"context"
	"net/http"
	"net/url"

	"lofn"
)

// Namespaces lists the names of all namespaces.
func (c *Client) Namespaces(ctx context.Context) ([]string, error) {
	names := []string{}
	err := c.do(ctx, request{method: http.MethodGet, path: "/system/namespaces", answer: &names})
	return names, err
}

// Namespace returns a namespace, or an error with code NotFound.
func (c *Client) Namespace(ctx context.Context, name string) (lofn.Namespace, error) {
	var namespace lofn.Namespace
	err := c.do(ctx, request{method: http.MethodGet, path: namespacePath(name), answer: &namespace})
	return namespace, err
}

// CreateNamespace makes a namespace; the error has code Exists if there is one
// by that name.
func (c *Client) CreateNamespace(ctx context.Context, namespace lofn.Namespace) error {
	return c.do(ctx, request{method: http.MethodPost, path: namespacePath(""), body: marked(namespace)})
}

// UpdateNamespace replaces labels and annotations of a namespace.
func (c *Client) UpdateNamespace(ctx context.Context, namespace lofn.Namespace) error {
	return c.do(ctx, request{method: http.MethodPut, path: namespacePath(namespace.Name), body: marked(namespace)})
}

// RemoveNamespace deletes a namespace.
func (c *Client) RemoveNamespace(ctx context.Context, name string) error {
	return c.do(ctx, request{
		method: http.MethodDelete, path: namespacePath(name), body: marked(lofn.Namespace{Name: name}),
	})
}

func namespacePath(name string) string { return "/system/namespace/" + url.PathEscape(name) }

// marked adds the label and annotation by which providers on Kubernetes and
// containerd know that a namespace is theirs. Without them they refuse it.
func marked(namespace lofn.Namespace) lofn.Namespace {
	namespace.Labels = withMark(namespace.Labels)
	namespace.Annotations = withMark(namespace.Annotations)
	return namespace
}

func withMark(pairs map[string]string) map[string]string {
	out := map[string]string{"openfaas": "1"}
	for name, value := range pairs {
		out[name] = value
	}
	return out
}
