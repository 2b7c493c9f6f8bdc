package watchdog

import (
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lofn"
)

// Mode says how a function is given its requests.
type Mode string

const (
	// HTTP is one child process that serves HTTP by itself.
	HTTP Mode = "http"
	// Streaming is a process for each call whose output is sent as it comes.
	Streaming Mode = "streaming"
	// Serializing is a process for each call that starts when the whole body
	// has arrived, and is answered when it ended.
	Serializing Mode = "serializing"
	// Static serves files.
	Static Mode = "static"
	// Classic is a process for each call with the behaviour of OpenFaaS' first
	// watchdog.
	Classic Mode = "classic"
)

// Config is what the environment of a function says about its watchdog.
type Config struct {
	Mode Mode
	// Process is the command line; empty in mode static only.
	Process []string
	// Upstream is where the child listens in mode http, nil if unset.
	Upstream *url.URL

	Port                      int
	ReadTimeout, WriteTimeout time.Duration
	// ExecTimeout bounds one call; 0 means no bound. In mode http it is not for
	// streams: Server-Sent Events, NDJSON and upgraded connections, which
	// StreamTimeout bounds in the same way.
	ExecTimeout, StreamTimeout time.Duration
	// HealthcheckInterval is how long to stay up, unhealthy, before a drain.
	HealthcheckInterval time.Duration
	// ContentType is that of answers in fork modes. Empty in mode classic
	// means the request's.
	ContentType  string
	StaticPath   string
	SuppressLock bool
	// BufferBody makes mode http read a request's body to its end before the
	// child sees the request.
	BufferBody bool
	// MaxInflight bounds the calls at the same time; 0 means no bound.
	MaxInflight int
	// PrefixLogs puts date and time before each line of the log, and the name
	// of the stream before those of the child.
	PrefixLogs bool
	LogCallID  bool
	ReadyPath  string
	// Prestart is how many processes at most wait for their calls in fork
	// modes. They have no Http_* variables.
	Prestart int

	// The rest is for mode classic.

	WriteDebug, DebugHeaders bool
	// CGIHeaders gives the process the Http_* variables.
	CGIHeaders bool
	// MarshalRequest gives the process headers and body as one JSON document.
	MarshalRequest bool
	// CombineOutput sends what the process writes to its standard error along
	// with its output; otherwise it goes to the log.
	CombineOutput bool
}

// ConfigFromEnv reads a watchdog's configuration from "NAME=value" pairs, of
// which the last of each name counts. An empty value is the same as none. An
// error has code Invalid and names the variable, or code Unimplemented for
// jwt_auth=true.
func ConfigFromEnv(env []string) (Config, error) {
	v := readVariables(env)
	c := v.config(v.mode("mode"))
	if v.enabled("jwt_auth") {
		v.fail(lofn.Unimplemented, "jwt_auth: nobody would check tokens here; without that the function would answer anybody")
	}
	return c, v.err
}

func readVariables(env []string) *variables {
	v := &variables{values: make(map[string]string, len(env))}
	for _, pair := range env {
		if name, value, ok := strings.Cut(pair, "="); ok {
			v.values[name] = value
		}
	}
	return v
}

func (v *variables) config(mode Mode) Config {
	c := Config{Mode: mode}
	v.exact = mode == Classic
	execDefault := 30 * time.Second
	if c.Mode == Classic {
		execDefault = 0
	}
	_, process := v.text("", "fprocess", "function_process")
	c.Process = strings.Fields(process)
	c.Upstream = v.url("upstream_url", "http_upstream_url")
	c.Port = v.number("port", 8080, 1, math.MaxUint16)
	c.ReadTimeout = v.duration("read_timeout", 30*time.Second)
	c.WriteTimeout = v.duration("write_timeout", 30*time.Second)
	c.ExecTimeout = v.duration("exec_timeout", execDefault)
	c.StreamTimeout = v.duration("stream_timeout", 0)
	c.HealthcheckInterval = v.duration("healthcheck_interval", c.WriteTimeout)
	c.ContentType = v.contentType("content_type", c.Mode)
	_, c.StaticPath = v.text("/home/app/public", "static_path")
	_, c.ReadyPath = v.text("", "ready_path")
	c.SuppressLock = v.flag(false, "suppress_lock")
	c.BufferBody = v.flag(false, "http_buffer_req_body", "buffer_http")
	c.MaxInflight = v.number("max_inflight", 0, 0, math.MaxInt32)
	c.PrefixLogs = v.flag(true, "prefix_logs")
	c.LogCallID = v.flag(false, "log_callid", "log_call_id")
	c.WriteDebug = v.flag(false, "write_debug")
	c.DebugHeaders = v.flag(false, "debug_headers")
	c.CGIHeaders = v.flag(true, "cgi_headers")
	c.MarshalRequest = v.flag(false, "marshal_request")
	c.CombineOutput = v.flag(true, "combine_output")
	c.Prestart = v.number("prestart", 0, 0, mostAhead)
	v.number("log_buffer_size", 65536, -1, math.MaxInt32)
	v.check(c)
	return c
}

// variables reads typed values and keeps the first error.
type variables struct {
	values map[string]string
	exact  bool // a flag is true if it says "true", else false
	err    error
}

func (v *variables) fail(code lofn.Code, format string, args ...any) {
	if v.err == nil {
		v.err = lofn.Errorf(code, format, args...)
	}
}

func (v *variables) check(c Config) {
	if c.Mode != Static && len(c.Process) == 0 {
		v.fail(lofn.Invalid, "fprocess: is required in mode %s: the command line of the function", c.Mode)
	}
	if c.WriteTimeout == 0 {
		v.fail(lofn.Invalid, "write_timeout: must be longer than 0")
	}
	switch {
	case c.Prestart == 0:
	case c.Mode == HTTP || c.Mode == Static:
		v.fail(lofn.Invalid, "prestart: mode %s has no process for each call: use it with streaming, serializing or classic", c.Mode)
	case v.values["cgi_headers"] == "true":
		v.fail(lofn.Invalid, "prestart: a process that starts before its call cannot be given that call's headers: leave cgi_headers out")
	}
}

// mostAhead bounds prestart: what waits takes memory.
const mostAhead = 256

// text returns the value of the last of the names that is set, and that name.
func (v *variables) text(missing string, names ...string) (name, value string) {
	name, value = names[0], missing
	for _, n := range names {
		if s := v.values[n]; s != "" {
			name, value = n, s
		}
	}
	return name, value
}

func (v *variables) mode(name string) Mode {
	_, value := v.text(string(Streaming), name)
	switch m := Mode(value); m {
	case HTTP, Streaming, Serializing, Static, Classic:
		return m
	}
	v.fail(lofn.Invalid, "%s: %q is unknown: use http, streaming, serializing, static or classic", name, value)
	return Streaming
}

func (v *variables) contentType(name string, mode Mode) string {
	missing := "application/octet-stream"
	if mode == Classic {
		missing = ""
	}
	_, value := v.text(missing, name)
	if strings.ContainsAny(value, "\r\n\x00") {
		v.fail(lofn.Invalid, "%s: %q has a line break in it", name, value)
	}
	return value
}

func (v *variables) url(names ...string) *url.URL {
	name, value := v.text("", names...)
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		v.fail(lofn.Invalid, "%s: %q is not where a function could listen: use the form http://127.0.0.1:8082", name, value)
		return nil
	}
	return u
}

func (v *variables) number(name string, missing, least, most int) int {
	value := v.values[name]
	if value == "" {
		return missing
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		v.fail(lofn.Invalid, "%s: %q is not a whole number from %d to %d", name, value, least, most)
		return missing
	}
	return n
}

func (v *variables) duration(name string, missing time.Duration) time.Duration {
	value := v.values[name]
	if value == "" {
		return missing
	}
	d, err := lofn.ParseSeconds(value)
	if err != nil {
		v.fail(lofn.Invalid, "%s: %w", name, err)
		return missing
	}
	return d
}

func (v *variables) flag(missing bool, names ...string) bool {
	name, value := v.text(strconv.FormatBool(missing), names...)
	if v.exact {
		return value == "true"
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		v.fail(lofn.Invalid, "%s: %q is neither true nor false", name, value)
		return missing
	}
	return b
}

// enabled reads a flag that protects: in every mode "1" turns it on too.
func (v *variables) enabled(name string) bool {
	exact := v.exact
	defer func() { v.exact = exact }()
	v.exact = false
	return v.flag(false, name)
}
