package watchdog_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/watchdog"
)

// TestWhichWatchdog is about images that do not set mode.
func TestWhichWatchdog(t *testing.T) {
	for _, c := range []struct {
		program, env string
		want         watchdog.Mode
	}{
		{"fwatchdog", "", watchdog.Classic},
		{"/usr/bin/fwatchdog", "exec_timeout=1s,write_debug=true,port=80,max_inflight=3", watchdog.Classic},
		{"fwatchdog", "cgi_headers=true", watchdog.Classic},
		{"fwatchdog", "function_process=cat", watchdog.Streaming},
		{"fwatchdog", "upstream_url=http://127.0.0.1:1", watchdog.Streaming},
		{"fwatchdog", "prefix_logs=false", watchdog.Streaming},
		{"fwatchdog", "prefix_logs=", watchdog.Classic},
		{"fwatchdog", "mode=http,upstream_url=http://127.0.0.1:1", watchdog.HTTP},
		{"fwatchdog", "mode=serializing,write_debug=true", watchdog.Serializing},
		{"fwatchdog", "mode=classic", watchdog.Classic},
		{"fwatchdog", "watchdog=of", watchdog.Streaming},
		{"fwatchdog", "watchdog=of,mode=static,static_path=/", watchdog.Static},
		{"fwatchdog", "watchdog=classic,mode=http", watchdog.Classic},
		{"of-watchdog", "", watchdog.Streaming},
		{"/usr/local/bin/classic-watchdog", "mode=streaming", watchdog.Classic},
		{"of-watchdog", "watchdog=classic", watchdog.Classic},
	} {
		got, err := watchdog.StandaloneFromEnv(c.program, append(strings.Split(c.env, ","), "fprocess=cat"))
		if err != nil || got.Mode != c.want {
			t.Errorf("%s with %s: got %s, %v; want %s", c.program, c.env, got.Mode, err, c.want)
		}
	}
}

func TestStandaloneConfig(t *testing.T) {
	got, err := watchdog.StandaloneFromEnv("fwatchdog", []string{
		"fprocess=cat", "mode=http", "listen_host=127.0.0.1", "metrics_port=0", "ready_timeout=3", "stream_timeout=1h", "suppress_lock=1",
		"jwt_auth=1", "jwt_auth_local=true", "OPENFAAS_NAME=f", "OPENFAAS_NAMESPACE=n",
	})
	if err != nil || got.Host != "127.0.0.1" || got.MetricsPort != 0 || got.ReadyTimeout != 3*time.Second || got.StreamTimeout != time.Hour || !got.SuppressLock {
		t.Errorf("got %+v, %v", got, err)
	}
	if want := (&watchdog.GuardConfig{Authority: "http://127.0.0.1:8000", Namespace: "n", Name: "f"}); !reflect.DeepEqual(got.Guard, want) {
		t.Errorf("got %+v, want %+v", got.Guard, want)
	}
	got, err = watchdog.StandaloneFromEnv("fwatchdog", []string{"fprocess=cat", "OPENFAAS_NAME=f", "OPENFAAS_NAMESPACE=n", "jwt_auth=true"})
	if err != nil || got.Guard == nil || got.Guard.Authority != "http://gateway.openfaas:8080" || got.MetricsPort != 8081 || got.Host != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestStandaloneErrors(t *testing.T) {
	for env, want := range map[string]string{
		"watchdog=other":                   `watchdog: "other" is unknown: use of or classic`,
		"metrics_port=x":                   `metrics_port: "x" is not a whole number from 0 to 65535`,
		"ready_timeout=x":                  `ready_timeout: "x" is not a duration`,
		"jwt_auth=true":                    "jwt_auth: needs OPENFAAS_NAME and OPENFAAS_NAMESPACE",
		"jwt_auth=maybe":                   `jwt_auth: "maybe" is neither true nor false`,
		"jwt_auth=true,OPENFAAS_NAME=name": "jwt_auth: needs OPENFAAS_NAME and OPENFAAS_NAMESPACE",
	} {
		_, err := watchdog.StandaloneFromEnv("fwatchdog", append(strings.Split(env, ","), "fprocess=x"))
		if err == nil || !strings.HasPrefix(err.Error(), want) || lofn.CodeOf(err) != lofn.Invalid {
			t.Errorf("%s: got %v (code %v), want %s", env, err, lofn.CodeOf(err), want)
		}
	}
}
