package watchdog

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// reserved are headers that would be taken for what the platform says about
// the request, or, Proxy, for the setting of many HTTP clients.
var reserved = []string{"Proxy", "Method", "Path", "Query", "Host", "Contentlength", "Transfer-Encoding"}

// environ is the environment of the process for a call: without the call's
// variables where the process may have been started before it.
func (w *Watchdog) environ(r *http.Request, length int64) []string {
	if w.ahead != nil || w.config.Mode == Classic && !w.config.CGIHeaders {
		return w.options.Env
	}
	return environ(w.options.Env, r, length)
}

// environ returns the base environment and the request's Http_* variables,
// sorted by name. length is the body's, negative if unknown.
func environ(base []string, r *http.Request, length int64) []string {
	vars := headerVariables(r.Header)
	set := func(name, value string) {
		if value != "" {
			vars[name] = value
		}
	}
	set("Http_Method", r.Method)
	set("Http_Path", pathVariable(r))
	set("Http_Query", r.URL.RawQuery)
	set("Http_Host", r.Host)
	set("Http_Transfer_Encoding", strings.Join(r.TransferEncoding, ", "))
	if length >= 0 {
		set("Http_ContentLength", strconv.FormatInt(length, 10))
		set("Http_Content_Length", strconv.FormatInt(length, 10))
	}

	env := slices.Clone(base)
	start := len(env)
	for name, value := range vars {
		if !strings.ContainsAny(value, "\x00\r\n") {
			env = append(env, name+"="+value)
		}
	}
	slices.Sort(env[start:])
	return env
}

// headerVariables names each header's first value. Where two headers share a
// variable, the one without '_' in its name wins: proxies in front check and
// set those.
func headerVariables(header http.Header) map[string]string {
	vars := make(map[string]string, len(header)+6)
	for _, underscored := range []bool{true, false} {
		for name, values := range header {
			if strings.Contains(name, "_") != underscored || len(values) == 0 || !usable(name) {
				continue
			}
			vars[variable(name)] = values[0]
		}
	}
	return vars
}

func variable(header string) string { return "Http_" + strings.ReplaceAll(header, "-", "_") }

func usable(header string) bool {
	for _, c := range []byte(header) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && !('0' <= c && c <= '9') && c != '-' && c != '_' {
			return false
		}
	}
	return !slices.ContainsFunc(reserved, func(r string) bool {
		return strings.EqualFold(variable(r), variable(header))
	})
}

// pathVariable is the decoded path, or the encoded one where decoding would
// put control characters into the environment.
func pathVariable(r *http.Request) string {
	control := func(c rune) bool { return c < ' ' || c == 0x7f }
	if strings.ContainsFunc(r.URL.Path, control) {
		return r.URL.EscapedPath()
	}
	return r.URL.Path
}
