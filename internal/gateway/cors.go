package gateway

import (
	"net/http"

	"lofn"
)

// Browsers ask before a page calls another origin (the "CORS protocol" of
// https://fetch.spec.whatwg.org), and let it read an answer only where the
// answer says so. For a function that lists origins the gateway says both; for
// others these are headers like all others.

// share tells browsers who may read an answer. What the function itself says
// about that makes room: two such headers are as good as none.
func (c *call) share(h http.Header) {
	if c == nil || c.policy == nil || len(c.policy.Origins) == 0 {
		return
	}
	h.Del("Access-Control-Allow-Origin")
	h.Del("Access-Control-Allow-Credentials")
	// For caches, also where nobody asked: the next one may.
	h.Add("Vary", "Origin")
	name, credentials := c.policy.Origins.Allows(c.origin)
	if name != "" {
		h.Set("Access-Control-Allow-Origin", name)
	}
	if credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// shareOutcome is share for what is said about a call that nobody waits for: by
// these headers a page finds it again, and learns what came of it.
func (c *call) shareOutcome(h http.Header) {
	c.share(h)
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Expose-Headers", "Location, X-Call-Id, X-Duration-Seconds, X-Function-Name, X-Function-Status, X-Start-Time")
	}
}

// isPreflight reports whether a browser asks for leave to make a call.
func (c *call) isPreflight(r *http.Request) bool {
	return len(c.policy.Origins) > 0 && asksForLeave(r)
}

func asksForLeave(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// answerPreflight says that any method and header is welcome, for they are the
// function's to judge, if the page's origin is.
func (g *Gateway) answerPreflight(w http.ResponseWriter, r *http.Request, c *call) {
	h := w.Header()
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	c.share(h)
	if h.Get("Access-Control-Allow-Origin") == "" {
		g.refuse(w, r, lofn.Errorf(lofn.Forbidden, "function %s may not be called by pages of %s: its %s does not list it", c.ref, c.origin, lofn.AnnotationOrigins))
		return
	}
	h.Set(lofn.HeaderInternal, "gateway")
	h.Set("Access-Control-Allow-Methods", r.Header.Get("Access-Control-Request-Method"))
	if asked := r.Header.Values("Access-Control-Request-Headers"); len(asked) > 0 {
		h["Access-Control-Allow-Headers"] = asked
	}
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
