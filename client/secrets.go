package client

import (
	"context"
	"net/http"
	"unicode/utf8"

	"lofn"
)

const secretsPath = "/system/secrets"

// SecretName names a secret. Values are never read back.
type SecretName struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

// Secrets lists the secrets of a namespace, or of the gateway's default
// namespace where it is empty.
func (c *Client) Secrets(ctx context.Context, namespace string) ([]SecretName, error) {
	secrets := []SecretName{}
	err := c.do(ctx, request{
		method: http.MethodGet, path: secretsPath, query: namespaceQuery(namespace), answer: &secrets,
	})
	return secrets, err
}

// CreateSecret keeps a value, byte for byte; the error has code Exists if
// there is a secret by that name.
func (c *Client) CreateSecret(ctx context.Context, secret SecretName, value []byte) error {
	return c.putSecret(ctx, http.MethodPost, secret, value)
}

// UpdateSecret replaces a value; the error has code NotFound if there is no
// secret by that name.
func (c *Client) UpdateSecret(ctx context.Context, secret SecretName, value []byte) error {
	return c.putSecret(ctx, http.MethodPut, secret, value)
}

// RemoveSecret deletes a secret; the error has code NotFound if there is none.
func (c *Client) RemoveSecret(ctx context.Context, secret SecretName) error {
	return c.do(ctx, request{
		method: http.MethodDelete, path: secretsPath, query: namespaceQuery(secret.Namespace), body: secret,
	})
}

func (c *Client) putSecret(ctx context.Context, method string, secret SecretName, value []byte) error {
	body := lofn.SecretRequest{Name: secret.Name, Namespace: secret.Namespace, RawValue: value}
	// Older gateways know the text form only; JSON cannot carry other bytes
	// in it unchanged.
	if utf8.Valid(value) {
		body.Value = string(value)
	}
	return c.do(ctx, request{method: method, path: secretsPath, query: namespaceQuery(secret.Namespace), body: body})
}
