package clienttest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"

	"lofn"
)

func (g *Gateway) listSecrets(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := []lofn.SecretRequest{}
	for _, ref := range slices.SortedFunc(maps.Keys(g.secrets), lofn.Ref.Compare) {
		if ref.Namespace == namespaceOf(r, "") {
			list = append(list, lofn.SecretRequest{Name: ref.Name, Namespace: ref.Namespace})
		}
	}
	answer(w, list)
}

func (g *Gateway) createSecret(w http.ResponseWriter, r *http.Request) { g.putSecret(w, r, false) }
func (g *Gateway) updateSecret(w http.ResponseWriter, r *http.Request) { g.putSecret(w, r, true) }

func (g *Gateway) putSecret(w http.ResponseWriter, r *http.Request, mustExist bool) {
	var body lofn.SecretRequest
	if !decode(w, r, &body) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ref := lofn.Ref{Namespace: namespaceOf(r, body.Namespace), Name: body.Name}
	_, exists := g.secrets[ref]
	switch {
	case mustExist && !exists:
		http.Error(w, "no such secret: "+body.Name, http.StatusNotFound)
	case !mustExist && exists:
		http.Error(w, fmt.Sprintf("secret %s exists", body.Name), http.StatusConflict)
	default:
		g.secrets[ref] = body.RawValue
		if body.RawValue == nil {
			g.secrets[ref] = []byte(body.Value)
		}
		w.WriteHeader(http.StatusAccepted)
	}
}

func (g *Gateway) removeSecret(w http.ResponseWriter, r *http.Request) {
	var body lofn.SecretRequest
	if !decode(w, r, &body) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ref := lofn.Ref{Namespace: namespaceOf(r, body.Namespace), Name: body.Name}
	if _, ok := g.secrets[ref]; !ok {
		http.Error(w, "no such secret: "+body.Name, http.StatusNotFound)
		return
	}
	delete(g.secrets, ref)
	w.WriteHeader(http.StatusAccepted)
}
