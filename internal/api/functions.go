package api

import (
	"net/http"
	"strings"

	"lofn"
)

func (a *API) listFunctions(w http.ResponseWriter, r *http.Request) error {
	namespace := inNamespace(r, "")
	if _, err := a.Namespaces.Get(r.Context(), namespaceRef(namespace)); err != nil {
		return unknownNamespace(namespace, err)
	}
	functions := a.Replicas.Deployed(namespace)
	list := make([]lofn.FunctionStatus, 0, len(functions))
	for _, fn := range functions {
		list = append(list, a.status(fn))
	}
	return answer(w, http.StatusOK, list)
}

func (a *API) getFunction(w http.ResponseWriter, r *http.Request) error {
	ref := pathRef(r)
	record, err := a.Functions.Get(r.Context(), ref)
	if err != nil {
		return unknownFunction(ref, err)
	}
	status := a.status(record.Value)
	status.Instances, status.Scaling = a.Replicas.Replicas(ref), a.Scaler.Status(ref)
	if wants := r.URL.Query().Get("usage"); a.Usage != nil && (wants == "1" || wants == "true") {
		usage, err := a.Usage.Usage(r.Context(), ref)
		if err != nil {
			return err
		}
		status.Usage = &lofn.FunctionUsage{CPU: usage.MilliCPU, TotalMemoryBytes: usage.MemoryBytes}
	}
	return answer(w, http.StatusOK, status)
}

// status describes a function. Labels and annotations are never null: clients
// rely on it.
func (a *API) status(fn lofn.Function) lofn.FunctionStatus {
	ready := uint64(0)
	for _, replica := range a.Replicas.Replicas(fn.Ref) {
		if replica.State == lofn.Ready {
			ready++
		}
	}
	return lofn.FunctionStatus{
		Name: fn.Name, Namespace: fn.Namespace, Image: fn.Spec.Image, Digest: fn.Digest, Defaults: fn.Defaults, Runtime: fn.Runtime, Generation: fn.Generation,
		EnvProcess: fn.Spec.Process, EnvVars: fn.Spec.Env, Constraints: fn.Spec.Constraints, Secrets: fn.Spec.Secrets,
		Labels: notNil(fn.Spec.Labels), Annotations: notNil(fn.Spec.Annotations),
		Limits: fn.Spec.Limits, Requests: fn.Spec.Requests, ReadOnlyRootFilesystem: fn.Spec.ReadOnlyRootFilesystem,
		InvocationCount: a.Invocations.Invocations(fn.Ref),
		Replicas:        uint64(a.Replicas.Wanted(fn.Ref)), AvailableReplicas: ready,
		CreatedAt: fn.CreatedAt,
	}
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (a *API) createFunction(w http.ResponseWriter, r *http.Request) error {
	fn, err := a.readFunction(w, r)
	if err != nil {
		return err
	}
	a.membership.RLock()
	defer a.membership.RUnlock()
	if err := a.admit(r, &fn); err != nil {
		return err
	}
	scaling, err := fn.Spec.Scaling()
	if err != nil {
		return err
	}
	fn.Replicas, fn.Generation = scaling.Min, 1
	fn.CreatedAt = a.Now().UTC()
	fn.UpdatedAt = fn.CreatedAt
	revision, err := a.Functions.Put(r.Context(), fn.Ref, fn, 0)
	if lofn.CodeOf(err) == lofn.Exists {
		return lofn.Errorf(lofn.Exists, "function %q exists in namespace %q: update it with PUT", fn.Name, fn.Namespace)
	}
	if err != nil {
		return err
	}
	a.await(r.Context(), fn.Ref, revision, false)
	a.Log.Info("function deployed", "function", fn.Ref, "image", fn.Spec.Image)
	return accepted(w)
}

func (a *API) updateFunction(w http.ResponseWriter, r *http.Request) error {
	fn, err := a.readFunction(w, r)
	if err != nil {
		return err
	}
	a.membership.RLock()
	defer a.membership.RUnlock()
	// First of all: a client that tries PUT before POST counts on the 404.
	if _, err := a.Functions.Get(r.Context(), fn.Ref); err != nil {
		return unknownFunction(fn.Ref, err)
	}
	if err := a.admit(r, &fn); err != nil {
		return err
	}
	scaling, err := fn.Spec.Scaling()
	if err != nil {
		return err
	}
	revision, err := modify(r.Context(), a.Functions, fn.Ref, func(old lofn.Function) (lofn.Function, error) {
		fn.CreatedAt, fn.UpdatedAt = old.CreatedAt, a.Now().UTC()
		fn.Generation = old.Generation + 1
		fn.Replicas = max(old.Replicas, scaling.Min)
		if scaling.Max > 0 {
			fn.Replicas = min(fn.Replicas, scaling.Max)
		}
		return fn, nil
	})
	if err != nil {
		return unknownFunction(fn.Ref, err)
	}
	a.await(r.Context(), fn.Ref, revision, false)
	a.Log.Info("function updated", "function", fn.Ref, "image", fn.Spec.Image, "generation", fn.Generation)
	return accepted(w)
}

// readFunction takes a deployment from the request and checks what can be
// checked by looking at it.
func (a *API) readFunction(w http.ResponseWriter, r *http.Request) (lofn.Function, error) {
	var d lofn.Deployment
	if err := read(w, r, &d); err != nil {
		return lofn.Function{}, err
	}
	fn := lofn.Function{
		Ref: lofn.Ref{Namespace: inNamespace(r, d.Namespace), Name: d.Service},
		Spec: lofn.Spec{
			Image: d.Image, Process: d.EnvProcess, Env: d.EnvVars, Secrets: d.Secrets,
			Labels: d.Labels, Annotations: d.Annotations, Constraints: d.Constraints,
			Limits: given(d.Limits), Requests: given(d.Requests), ReadOnlyRootFilesystem: d.ReadOnlyRootFilesystem,
		},
	}
	if d.Service == "" {
		return fn, lofn.Errorf(lofn.Invalid, "service: is required: it is the name of the function")
	}
	return fn, fn.Validate()
}

// given returns nil for resources that set nothing, which some clients send.
func given(r *lofn.Resources) *lofn.Resources {
	if r == nil || *r == (lofn.Resources{}) {
		return nil
	}
	return r
}

// admit checks what a function needs around it, and pins its image.
func (a *API) admit(r *http.Request, fn *lofn.Function) error {
	ctx := r.Context()
	if _, err := a.Namespaces.Get(ctx, namespaceRef(fn.Namespace)); err != nil {
		return invalidNamespace(fn.Namespace, err)
	}
	for _, name := range fn.Spec.Secrets {
		_, err := a.Secrets.Get(ctx, lofn.Ref{Namespace: fn.Namespace, Name: name})
		if lofn.CodeOf(err) == lofn.NotFound {
			return lofn.Errorf(lofn.Invalid, "secrets: %q does not exist in namespace %q: create it first, with: lofn secret create %s", name, fn.Namespace, name)
		}
		if err != nil {
			return err
		}
	}
	if a.Resolver == nil {
		return a.Scaler.Check(*fn)
	}
	image, err := a.Resolver.Resolve(ctx, *fn)
	if err != nil {
		return err
	}
	fn.Digest, fn.Defaults, fn.Runtime = image.Digest, image.Defaults, image.Runtime
	if _, err = fn.Policy(); err != nil { // for what the image says
		return err
	}
	return a.Scaler.Check(*fn)
}

func (a *API) deleteFunction(w http.ResponseWriter, r *http.Request) error {
	var d lofn.DeleteRequest
	if err := read(w, r, &d); err != nil {
		return err
	}
	if d.FunctionName == "" {
		return lofn.Errorf(lofn.Invalid, "functionName: is required")
	}
	ref := lofn.Ref{Namespace: inNamespace(r, d.Namespace), Name: d.FunctionName}
	revision, err := remove(r.Context(), a.Functions, ref)
	if err != nil {
		return unknownFunction(ref, err)
	}
	a.await(r.Context(), ref, revision, true)
	a.Log.Info("function removed", "function", ref)
	return accepted(w)
}

func (a *API) scaleFunction(w http.ResponseWriter, r *http.Request) error {
	var s lofn.ScaleRequest
	if err := read(w, r, &s); err != nil {
		return err
	}
	ref := pathRef(r)
	if s.Namespace != "" {
		ref.Namespace = s.Namespace
	}
	if s.ServiceName != "" && s.ServiceName != ref.Name {
		return lofn.Errorf(lofn.Invalid, "serviceName: is %q, but the path names %q", s.ServiceName, ref.Name)
	}
	if s.Replicas == nil {
		return lofn.Errorf(lofn.Invalid, "replicas: is required")
	}
	// What overflows an int is beyond every bound.
	count := int(min(*s.Replicas, 1<<31-1))
	revision, err := modify(r.Context(), a.Functions, ref, func(fn lofn.Function) (lofn.Function, error) {
		fn.Replicas, fn.UpdatedAt = count, a.Now().UTC()
		return fn, fn.Spec.ValidateReplicas(count)
	})
	if err != nil {
		return unknownFunction(ref, err)
	}
	a.await(r.Context(), ref, revision, false)
	a.Log.Info("function scaled", "function", ref, "replicas", count)
	return accepted(w)
}

// pathRef is the function that the path names, as NAME or NAME.NAMESPACE, in
// the namespace that the query names.
func pathRef(r *http.Request) lofn.Ref {
	name := r.PathValue("name")
	if strings.Contains(name, ".") {
		return lofn.ParseHost(name)
	}
	return lofn.Ref{Namespace: inNamespace(r, ""), Name: name}
}

// unknownFunction words a missing record as a missing function, and passes on
// every other error.
func unknownFunction(ref lofn.Ref, err error) error {
	if lofn.CodeOf(err) != lofn.NotFound {
		return err
	}
	return lofn.Errorf(lofn.NotFound, "function %q does not exist in namespace %q", ref.Name, ref.Namespace)
}
