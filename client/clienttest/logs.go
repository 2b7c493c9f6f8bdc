package clienttest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"lofn"
)

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
		if !g.waitFollowing(r.Context(), changed, cut) {
			return
		}
	}
}

// waitFollowing reports whether there may be more to send.
func (g *Gateway) waitFollowing(ctx context.Context, changed, cut <-chan struct{}) bool {
	g.count(1)
	defer g.count(-1)
	select {
	case <-changed:
		return true
	case <-cut:
	case <-ctx.Done():
	}
	return false
}

func (g *Gateway) count(followers int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.followers += followers
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
