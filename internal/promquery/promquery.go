// Package promquery asks Prometheus for one number: the value that a PromQL
// expression has now.
package promquery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lofn"
)

const (
	// patience is how long an answer may take. The value is for a decision that
	// is made every few seconds.
	patience = 2 * time.Second
	// largest is how long an answer may be. One number needs a hundred bytes.
	largest = 1 << 20
)

// Client asks one Prometheus, or what speaks its HTTP API. It is safe for
// concurrent use.
type Client struct {
	query string // the URL of instant queries
	name  string // the URL that was given, without a password
	http  *http.Client
}

// New returns a client of the Prometheus whose web page is at the URL. It does
// not connect: that Prometheus does not answer is for Query to say.
func New(address string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, which may have a password
		}
		return nil, lofn.Errorf(lofn.Invalid, "is not a URL such as http://127.0.0.1:9090: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, lofn.Errorf(lofn.Invalid, "%q is not a URL such as http://127.0.0.1:9090", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, lofn.Errorf(lofn.Invalid, "%q has more than an address and a path: give the URL of Prometheus' web page, such as http://127.0.0.1:9090", u.Redacted())
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 4
	return &Client{
		query: u.JoinPath("api/v1/query").String(), name: u.Redacted(),
		http: &http.Client{Transport: transport},
	}, nil
}

// Query returns the value of an expression that yields a scalar, or a vector
// with exactly one sample: which of several is meant, or that they add up, is
// for the expression to say. An empty vector, NaN and the infinities, which are
// what a division by zero yields, count as not found.
func (c *Client) Query(ctx context.Context, expr string) (value float64, found bool, err error) {
	value, err = c.ask(ctx, expr)
	switch {
	case errors.Is(err, errEmpty):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("Prometheus at %s: %w", c.name, err)
	}
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return 0, false, nil
	}
	return value, true, nil
}

// Close drops the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) ask(ctx context.Context, expr string) (float64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("did not answer within %v", patience))
	defer cancel()
	form := url.Values{"query": {expr}, "timeout": {patience.String()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.query, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, cause(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, largest))
	if err != nil {
		return 0, cause(ctx, err)
	}
	if len(body) == largest {
		return 0, errors.New("the answer is longer than 1 MiB, where one number is needed: put sum(...) around the expression")
	}
	return read(resp.Status, body)
}

// cause is why a request failed, without the URL that the error repeats.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// answer is the form of all answers of the HTTP API.
type answer struct {
	Status string `json:"status"`
	Type   string `json:"errorType"`
	Error  string `json:"error"`
	Data   struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
}

var errEmpty = errors.New("no sample")

// read takes the value out of an answer.
func read(status string, body []byte) (float64, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil || a.Status == "" {
		return 0, fmt.Errorf("answered %s, and not as Prometheus does: is the URL right?", status)
	}
	if a.Status != "success" {
		return 0, fmt.Errorf("%s: %s", a.Type, a.Error)
	}
	switch a.Data.Type {
	case "scalar":
		var s sample
		err := json.Unmarshal(a.Data.Result, &s)
		return float64(s), err
	case "vector":
		return one(a.Data.Result)
	}
	return 0, fmt.Errorf("the expression yields a %s, where one number is needed", a.Data.Type)
}

// one is the value of the only series of a vector.
func one(vector json.RawMessage) (float64, error) {
	var series []struct {
		Value *sample `json:"value"`
	}
	if err := json.Unmarshal(vector, &series); err != nil {
		return 0, err
	}
	switch {
	case len(series) == 0:
		return 0, errEmpty
	case len(series) > 1:
		return 0, fmt.Errorf("the expression yields %d series, where one number is needed: put sum(...) around it", len(series))
	case series[0].Value == nil:
		return 0, errors.New("the expression yields a histogram, where one number is needed")
	}
	return float64(*series[0].Value), nil
}

// sample reads a time with a value, the latter as text: [1435781451.781, "1"].
type sample float64

func (s *sample) UnmarshalJSON(data []byte) error {
	var text string
	pair := [2]any{1: &text}
	if err := json.Unmarshal(data, &pair); err != nil {
		return fmt.Errorf("sample %s: %w", data, err)
	}
	value, err := strconv.ParseFloat(text, 64)
	*s = sample(value)
	return err
}
