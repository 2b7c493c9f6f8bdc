package clienttest

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"lofn"
)

func (g *Gateway) listFunctions(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	namespace, list := namespaceOf(r, ""), []lofn.FunctionStatus{}
	for ref, function := range g.functions {
		if ref.Namespace == namespace {
			list = append(list, *function)
		}
	}
	slices.SortFunc(list, func(a, b lofn.FunctionStatus) int { return cmp.Compare(a.Name, b.Name) })
	answer(w, list)
}

func (g *Gateway) getFunction(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ref := lofn.Ref{Namespace: namespaceOf(r, ""), Name: r.PathValue("name")}
	function, ok := g.functions[ref]
	if !ok {
		http.Error(w, fmt.Sprintf("no such function: %s", ref), http.StatusNotFound)
		return
	}
	if len(g.starting) == 0 {
		answer(w, function)
		return
	}
	begun := *function
	begun.AvailableReplicas = 0
	begun.Instances = []lofn.Replica{{Function: ref, ID: ref.Name + "-1", State: lofn.Starting, Reason: g.starting[0], Since: function.CreatedAt}}
	g.starting = g.starting[1:]
	answer(w, begun)
}

func (g *Gateway) createFunction(w http.ResponseWriter, r *http.Request) {
	g.deploy(w, r, func(ref lofn.Ref, exists bool) (int, string) {
		if exists {
			return http.StatusConflict, fmt.Sprintf("function %s exists", ref)
		}
		return 0, ""
	})
}

func (g *Gateway) updateFunction(w http.ResponseWriter, r *http.Request) {
	g.deploy(w, r, func(ref lofn.Ref, exists bool) (int, string) {
		if !exists {
			return http.StatusNotFound, fmt.Sprintf("no such function: %s", ref)
		}
		return 0, ""
	})
}

func (g *Gateway) deploy(w http.ResponseWriter, r *http.Request, refuse func(lofn.Ref, bool) (int, string)) {
	var d lofn.Deployment
	if !decode(w, r, &d) {
		return
	}
	ref := lofn.Ref{Namespace: namespaceOf(r, d.Namespace), Name: d.Service}
	fn := lofn.Function{Ref: ref, Spec: lofn.Spec{Image: d.Image, Labels: d.Labels, Limits: d.Limits, Secrets: d.Secrets}}
	if err := fn.Validate(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, exists := g.functions[ref]
	if status, text := refuse(ref, exists); status != 0 {
		http.Error(w, text, status)
		return
	}
	g.functions[ref] = g.status(ref, d)
	g.signal()
	w.WriteHeader(http.StatusAccepted)
}

func (g *Gateway) status(ref lofn.Ref, d lofn.Deployment) *lofn.FunctionStatus {
	replica := lofn.Replica{Function: ref, ID: ref.Name + "-1", State: lofn.Ready, Since: time.Unix(1700000000, 0).UTC()}
	replica.Startup = lofn.Startup{Prepare: 1240 * time.Microsecond, Exec: 810 * time.Microsecond, Listen: 4080 * time.Microsecond, Accept: time.Microsecond}
	replica.Startup.Standby = strings.HasPrefix(d.EnvProcess, "python3 ")
	status := &lofn.FunctionStatus{
		Name: ref.Name, Namespace: ref.Namespace, Image: d.Image, EnvProcess: d.EnvProcess, EnvVars: d.EnvVars,
		Constraints: d.Constraints, Secrets: d.Secrets, Labels: nonNil(d.Labels), Annotations: nonNil(d.Annotations),
		Limits: d.Limits, Requests: d.Requests, ReadOnlyRootFilesystem: d.ReadOnlyRootFilesystem,
		Replicas: 1, AvailableReplicas: 1, CreatedAt: time.Unix(1700000000, 0).UTC(), Digest: "sha256:0123", Runtime: lofn.RuntimeProcess,
	}
	if g.down != "" {
		replica.State, replica.Reason, replica.Restarts, status.AvailableReplicas = lofn.Failed, g.down, 3, 0
		replica.Startup = lofn.Startup{}
	}
	status.Instances = []lofn.Replica{replica}
	return status
}

func nonNil(pairs map[string]string) map[string]string {
	if pairs == nil {
		return map[string]string{}
	}
	return pairs
}

func (g *Gateway) removeFunction(w http.ResponseWriter, r *http.Request) {
	var body lofn.DeleteRequest
	if !decode(w, r, &body) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ref := lofn.Ref{Namespace: namespaceOf(r, body.Namespace), Name: body.FunctionName}
	if _, ok := g.functions[ref]; !ok {
		http.Error(w, fmt.Sprintf("no such function: %s", ref), http.StatusNotFound)
		return
	}
	delete(g.functions, ref)
	delete(g.logs, ref)
	g.signal()
	w.WriteHeader(http.StatusAccepted)
}

func (g *Gateway) scaleFunction(w http.ResponseWriter, r *http.Request) {
	var body lofn.ScaleRequest
	if !decode(w, r, &body) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	function, ok := g.functions[lofn.Ref{Namespace: namespaceOf(r, body.Namespace), Name: r.PathValue("name")}]
	switch {
	case !ok:
		http.Error(w, "no such function", http.StatusNotFound)
	case body.Replicas == nil:
		http.Error(w, "replicas: is required", http.StatusBadRequest)
	default:
		function.Replicas, function.AvailableReplicas = *body.Replicas, *body.Replicas
		w.WriteHeader(http.StatusAccepted)
	}
}

func (g *Gateway) info(w http.ResponseWriter, _ *http.Request) {
	version := lofn.VersionInfo{Release: "1.2.3", SHA: "abc"}
	answer(w, lofn.Info{
		Provider: lofn.ProviderInfo{Name: "memory", Orchestration: "none", Version: version},
		Version:  version, Arch: "x86_64",
	})
}

func (g *Gateway) listNamespaces(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer(w, slices.Sorted(maps.Keys(g.namespaces)))
}

func (g *Gateway) getNamespace(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	namespace, ok := g.namespaces[r.PathValue("name")]
	if !ok {
		http.Error(w, "no such namespace: "+r.PathValue("name"), http.StatusNotFound)
		return
	}
	answer(w, namespace)
}

func (g *Gateway) createNamespace(w http.ResponseWriter, r *http.Request) {
	var namespace lofn.Namespace
	if !decode(w, r, &namespace) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.namespaces[namespace.Name]; ok {
		http.Error(w, fmt.Sprintf("namespace %s exists", namespace.Name), http.StatusConflict)
		return
	}
	g.namespaces[namespace.Name] = namespace
	w.WriteHeader(http.StatusCreated)
}

func (g *Gateway) updateNamespace(w http.ResponseWriter, r *http.Request) {
	var namespace lofn.Namespace
	if !decode(w, r, &namespace) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.namespaces[r.PathValue("name")]; !ok {
		http.Error(w, "no such namespace: "+r.PathValue("name"), http.StatusNotFound)
		return
	}
	g.namespaces[r.PathValue("name")] = namespace
	w.WriteHeader(http.StatusAccepted)
}

func (g *Gateway) removeNamespace(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.namespaces[r.PathValue("name")]; !ok {
		http.Error(w, "no such namespace: "+r.PathValue("name"), http.StatusNotFound)
		return
	}
	delete(g.namespaces, r.PathValue("name"))
	w.WriteHeader(http.StatusAccepted)
}
