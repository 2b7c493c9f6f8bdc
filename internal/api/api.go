// Package api is the front door for people and tools: the control API under
// /system, as the OpenFaaS contract has it.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"lofn"
	"lofn/internal/auth"
	"lofn/internal/problem"
)

// replicas tells what runs.
type replicas interface {
	// Await waits until a change of a function's record has taken effect for
	// calls, or ctx ends.
	Await(ctx context.Context, ref lofn.Ref, revision lofn.Revision, deleted bool)
	// Wanted is how many replicas a function should have now.
	Wanted(lofn.Ref) int
	Replicas(lofn.Ref) []lofn.Replica
	// Deployed returns the functions of a namespace, ordered by name.
	Deployed(namespace string) []lofn.Function
}

// invocations tells how often a function was called.
type invocations interface {
	Invocations(lofn.Ref) float64
}

// scaler says how many replicas functions shall have, and why.
type scaler interface {
	// Check reports why a function could not be scaled as it says.
	Check(lofn.Function) error
	// Status tells what was last decided, nil for an unknown function.
	Status(lofn.Ref) *lofn.ScalingStatus
	// Alert takes in that an alert about a function fires, which asks for more
	// replicas, or is over. It fails with NotFound for an unknown function.
	Alert(ref lofn.Ref, firing bool) error
}

// Config is what an API works with. Resolver and Usage may be nil, since not
// every provider has them, and Queue if there is none.
type Config struct {
	Functions   lofn.Store[lofn.Function]
	Namespaces  lofn.Store[lofn.Namespace]
	Secrets     lofn.Store[lofn.Secret]
	Resolver    lofn.Resolver
	Usage       lofn.UsageReporter
	Logs        lofn.LogStreamer
	Replicas    replicas
	Invocations invocations
	Scaler      scaler
	Queue       queue
	Auth        auth.Authenticator
	Info        lofn.Info
	// Now is the clock, time.Now but for tests.
	Now func() time.Time
	Log *slog.Logger
}

// API is an http.Handler.
type API struct {
	Config
	mux *http.ServeMux
	// membership is held for writing while a namespace is deleted, and for
	// reading while something is put into one.
	membership sync.RWMutex
}

// New returns the API.
func New(c Config) *API {
	a := &API{Config: c, mux: http.NewServeMux()}
	a.guard(map[string]problem.Handler{
		"GET /system/functions":              a.listFunctions,
		"POST /system/functions":             a.createFunction,
		"PUT /system/functions":              a.updateFunction,
		"DELETE /system/functions":           a.deleteFunction,
		"GET /system/function/{name}":        a.getFunction,
		"POST /system/scale-function/{name}": a.scaleFunction,

		"GET /system/namespaces":          a.listNamespaces,
		"POST /system/namespace/{$}":      a.createNamespace,
		"POST /system/namespace/{name}":   a.createNamespace,
		"GET /system/namespace/{name}":    a.getNamespace,
		"PUT /system/namespace/{name}":    a.updateNamespace,
		"DELETE /system/namespace/{name}": a.deleteNamespace,

		"GET /system/secrets":    a.listSecrets,
		"POST /system/secrets":   a.createSecret,
		"PUT /system/secrets":    a.updateSecret,
		"DELETE /system/secrets": a.deleteSecret,

		"POST /system/alert": a.postAlert,

		"GET /system/logs": a.getLogs,
		"GET /system/info": a.getInfo,
	})
	// The REST documentation of OpenFaaS spells the namespace routes in the
	// plural, its clients in the singular.
	a.guard(map[string]problem.Handler{
		"PUT /system/namespaces/{name}":    a.updateNamespace,
		"DELETE /system/namespaces/{name}": a.deleteNamespace,
	})
	a.guard(a.queueRoutes())
	a.mux.Handle("GET /healthz", problem.Handle(c.Log, a.getHealth))
	return a
}

// guard adds routes for those who have shown who they are.
func (a *API) guard(routes map[string]problem.Handler) {
	for pattern, h := range routes {
		a.mux.Handle(pattern, auth.Require(a.Auth, problem.Handle(a.Log, h)))
	}
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

func (a *API) getInfo(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, a.Info)
}

// getHealth is fine as long as the store answers: without it nothing can be
// deployed, though what runs keeps running.
func (a *API) getHealth(w http.ResponseWriter, r *http.Request) error {
	_, err := a.Namespaces.Get(r.Context(), namespaceRef(lofn.DefaultNamespace))
	if err != nil {
		return lofn.Errorf(lofn.Unavailable, "the store does not answer: %w", err)
	}
	_, err = io.WriteString(w, "OK")
	return err
}

// maxBody bounds the body of a control request. A secret or a set of
// environment variables is far smaller.
const maxBody = 4 << 20

// read decodes the request's JSON body. Fields that are not known are ignored,
// as the contract asks.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return lofn.Errorf(lofn.Invalid, "body: is empty, JSON is expected")
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return lofn.Errorf(lofn.Invalid, "body: %s: must be %s, not a JSON %s", wrong.Field, kind(wrong), wrong.Value)
	}
	return lofn.Errorf(lofn.Invalid, "body: is not valid JSON: %w", err)
}

// kind names in JSON's terms what a field should have been.
func kind(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind().String() {
	case "map", "struct", "ptr":
		return "an object"
	case "slice":
		return "an array"
	case "bool":
		return "true or false"
	case "string":
		return "a string"
	default:
		return "a number"
	}
}

func answer(w http.ResponseWriter, status int, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that left does not need to be told.
	_, _ = w.Write(append(data, '\n'))
	return nil
}

// accepted answers a change with 202 and no body.
func accepted(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// inNamespace returns the namespace that a request names in its body or in its
// query, or the default one.
func inNamespace(r *http.Request, body string) string {
	if body != "" {
		return body
	}
	if query := r.URL.Query().Get("namespace"); query != "" {
		return query
	}
	return lofn.DefaultNamespace
}

// modify reads the record, lets change make a new value of it, and writes that
// back, over again if somebody else wrote in between. It returns the revision
// that it wrote.
func modify[T any](ctx context.Context, s lofn.Store[T], ref lofn.Ref, change func(T) (T, error)) (lofn.Revision, error) {
	for {
		record, err := s.Get(ctx, ref)
		if err != nil {
			return 0, err
		}
		value, err := change(record.Value)
		if err != nil {
			return 0, err
		}
		revision, err := s.Put(ctx, ref, value, record.Revision)
		if lofn.CodeOf(err) != lofn.Conflict {
			return revision, err
		}
	}
}

// remove deletes the record, whatever its revision, which it returns.
func remove[T any](ctx context.Context, s lofn.Store[T], ref lofn.Ref) (lofn.Revision, error) {
	for {
		record, err := s.Get(ctx, ref)
		if err != nil {
			return 0, err
		}
		err = s.Delete(ctx, ref, record.Revision)
		if lofn.CodeOf(err) != lofn.Conflict {
			return record.Revision, err
		}
	}
}

// maxAwait bounds how long an answer waits for its change to take effect. The
// change is safe in the store by then, so the answer is right without it too.
const maxAwait = 2 * time.Second

// await waits until the next call will meet the change.
func (a *API) await(ctx context.Context, ref lofn.Ref, revision lofn.Revision, deleted bool) {
	ctx, cancel := context.WithTimeout(ctx, maxAwait)
	defer cancel()
	a.Replicas.Await(ctx, ref, revision, deleted)
}
