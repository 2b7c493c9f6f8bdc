package watchdog

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lofn"
)

// Standalone is the configuration of a watchdog that is a program of its own,
// inside the container of a function.
type Standalone struct {
	Config
	// Host is the address to listen on; empty means all.
	Host string
	// MetricsPort is where metrics are served; 0 means nowhere.
	MetricsPort int
	// ReadyTimeout is how long after the start of the child calls wait for it
	// to listen, in mode http.
	ReadyTimeout time.Duration
	// Guard says whose calls are answered; nil means everybody's.
	Guard *GuardConfig
}

// StandaloneFromEnv reads the environment of a container. program is the name
// that the watchdog was started by; it and the environment decide between the
// two watchdogs of OpenFaaS where mode is not set: see the package. Errors are
// those of ConfigFromEnv, but jwt_auth is understood.
func StandaloneFromEnv(program string, env []string) (Standalone, error) {
	v := readVariables(env)
	s := Standalone{Config: v.config(v.flavour(program))}
	_, s.Host = v.text("", "listen_host")
	s.MetricsPort = v.number("metrics_port", 8081, 0, math.MaxUint16)
	s.ReadyTimeout = v.duration("ready_timeout", 10*time.Second)
	if v.enabled("jwt_auth") {
		s.Guard = v.guard()
	}
	return s, v.err
}

// ofOnly are variables that only of-watchdog knows.
var ofOnly = []string{
	"upstream_url", "http_upstream_url", "function_process", "http_buffer_req_body", "buffer_http",
	"static_path", "prefix_logs", "log_buffer_size", "log_callid", "ready_path",
}

// flavour is the mode, or which of the two watchdogs is meant where none is
// set: their images look alike, and both call the program fwatchdog.
func (v *variables) flavour(program string) Mode {
	_, kind := v.text(filepath.Base(program), "watchdog")
	switch {
	case kind == "classic" || kind == "classic-watchdog":
		return Classic
	case v.values["mode"] != "" || kind == "of" || kind == "of-watchdog":
		return v.mode("mode")
	case v.values["watchdog"] != "":
		v.fail(lofn.Invalid, "watchdog: %q is unknown: use of or classic", kind)
	case slices.ContainsFunc(ofOnly, func(name string) bool { return strings.TrimSpace(v.values[name]) != "" }):
		return v.mode("mode")
	}
	return Classic
}
