package clienttest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

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

// serveLogs streams what there is and, where the query follows, what is added
// until the function is removed or the streams are cut.
func (g *Gateway) serveLogs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	ref := lofn.Ref{Namespace: namespaceOf(r, ""), Name: query.Get("name")}
	tail, err := strconv.Atoi(query.Get("tail"))
	if err != nil {
		http.Error(w, "could not parse the log request", http.StatusUnprocessableEntity)
		return
	}
	since, _ := time.Parse(time.RFC3339Nano, query.Get("since"))
	g.mu.Lock()
	_, exists := g.functions[ref]
	cut := g.cut
	g.mu.Unlock()
	if !exists {
		http.Error(w, fmt.Sprintf("no such function: %s", ref), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	flush(w)
	follow, _ := strconv.ParseBool(query.Get("follow"))
	for sent := 0; ; tail = 0 {
		g.mu.Lock()
		lines, changed := g.logs[ref][min(sent, len(g.logs[ref])):], g.changed
		_, exists := g.functions[ref]
		g.mu.Unlock()
		sent += len(lines)
		writeLines(w, lines, tail, since, query.Get("instance"))
		if !follow || !exists {
			return
		}
		select {
		case <-changed:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func writeLines(w http.ResponseWriter, lines []lofn.LogMessage, tail int, since time.Time, instance string) {
	lines = slices.DeleteFunc(slices.Clone(lines), func(line lofn.LogMessage) bool {
		return line.Timestamp.Before(since) || (instance != "" && line.Instance != instance)
	})
	if tail > 0 && len(lines) > tail {
		lines = lines[len(lines)-tail:]
	}
	encoder := json.NewEncoder(w)
	for _, line := range lines {
		_ = encoder.Encode(line)
	}
	flush(w)
}
