package watchdog_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/watchdog"
)

func TestConfigDefaults(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want watchdog.Config
	}{
		{[]string{"fprocess=cat"}, watchdog.Config{Mode: watchdog.Streaming, ExecTimeout: 30 * time.Second, ContentType: "application/octet-stream"}},
		{[]string{"fprocess=cat", "mode=classic"}, watchdog.Config{Mode: watchdog.Classic}},
	} {
		c.want.Process = []string{"cat"}
		c.want.Port = 8080
		c.want.ReadTimeout, c.want.WriteTimeout, c.want.HealthcheckInterval = 30*time.Second, 30*time.Second, 30*time.Second
		c.want.StaticPath = "/home/app/public"
		c.want.PrefixLogs, c.want.CGIHeaders, c.want.CombineOutput = true, true, true
		got, err := watchdog.ConfigFromEnv(c.env)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, %v\nwant %+v", c.env, got, err, c.want)
		}
	}
}

func TestConfigVariables(t *testing.T) {
	for _, c := range []struct {
		env  string // separated by ";"
		read func(watchdog.Config) any
		want any
	}{
		{"mode=http;fprocess=a", func(c watchdog.Config) any { return c.Mode }, watchdog.HTTP},
		{"mode=static", func(c watchdog.Config) any { return c.Mode }, watchdog.Static},
		{"mode=serializing;fprocess=a", func(c watchdog.Config) any { return c.Mode }, watchdog.Serializing},
		{"fprocess= node  index.js ", func(c watchdog.Config) any { return c.Process }, []string{"node", "index.js"}},
		{"fprocess=a;function_process=b c", func(c watchdog.Config) any { return c.Process }, []string{"b", "c"}},
		{"fprocess=a;function_process=", func(c watchdog.Config) any { return c.Process }, []string{"a"}},
		{"fprocess=a;fprocess=b", func(c watchdog.Config) any { return c.Process }, []string{"b"}},
		{"fprocess=sh -c 'a b'", func(c watchdog.Config) any { return c.Process }, []string{"sh", "-c", "'a", "b'"}},
		{"upstream_url=http://127.0.0.1:1;http_upstream_url=http://127.0.0.1:2", func(c watchdog.Config) any { return c.Upstream.Host }, "127.0.0.1:2"},
		{"port=3000", func(c watchdog.Config) any { return c.Port }, 3000},
		{"read_timeout=5", func(c watchdog.Config) any { return c.ReadTimeout }, 5 * time.Second},
		{"write_timeout=1m30s", func(c watchdog.Config) any { return c.WriteTimeout }, 90 * time.Second},
		{"write_timeout=2m", func(c watchdog.Config) any { return c.HealthcheckInterval }, 2 * time.Minute},
		{"healthcheck_interval=3s", func(c watchdog.Config) any { return c.HealthcheckInterval }, 3 * time.Second},
		{"exec_timeout=0", func(c watchdog.Config) any { return c.ExecTimeout }, time.Duration(0)},
		{"mode=classic;exec_timeout=250ms", func(c watchdog.Config) any { return c.ExecTimeout }, 250 * time.Millisecond},
		{"content_type=text/plain", func(c watchdog.Config) any { return c.ContentType }, "text/plain"},
		{"static_path=/www", func(c watchdog.Config) any { return c.StaticPath }, "/www"},
		{"suppress_lock=true", func(c watchdog.Config) any { return c.SuppressLock }, true},
		{"http_buffer_req_body=true", func(c watchdog.Config) any { return c.BufferBody }, true},
		{"buffer_http=true", func(c watchdog.Config) any { return c.BufferBody }, true},
		{"max_inflight=4", func(c watchdog.Config) any { return c.MaxInflight }, 4},
		{"prefix_logs=false", func(c watchdog.Config) any { return c.PrefixLogs }, false},
		{"log_callid=true", func(c watchdog.Config) any { return c.LogCallID }, true},
		{"log_call_id=true", func(c watchdog.Config) any { return c.LogCallID }, true},
		{"ready_path=/ready", func(c watchdog.Config) any { return c.ReadyPath }, "/ready"},
		{"log_buffer_size=-1", func(c watchdog.Config) any { return c.Port }, 8080},
		{"cgi_headers=false", func(c watchdog.Config) any { return c.CGIHeaders }, false},
		{"combine_output=false", func(c watchdog.Config) any { return c.CombineOutput }, false},
		{"marshal_request=true", func(c watchdog.Config) any { return c.MarshalRequest }, true},
		{"write_debug=true", func(c watchdog.Config) any { return c.WriteDebug }, true},
		{"debug_headers=true", func(c watchdog.Config) any { return c.DebugHeaders }, true},
		{"jwt_auth=false;no equals sign", func(c watchdog.Config) any { return c.Port }, 8080},
	} {
		got, err := watchdog.ConfigFromEnv(append([]string{"fprocess=x"}, strings.Split(c.env, ";")...))
		if err != nil || !reflect.DeepEqual(c.read(got), c.want) {
			t.Errorf("%s: got %v, %v; want %v", c.env, c.read(got), err, c.want)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for env, want := range map[string]string{
		"mode=afterburn":                `mode: "afterburn" is unknown: use http, streaming, serializing, static or classic`,
		"fprocess=":                     "fprocess: is required in mode streaming: the command line of the function",
		"fprocess= ":                    "fprocess: is required in mode streaming: the command line of the function",
		"exec_timeout=soon":             `exec_timeout: "soon" is not a duration: use a number with a unit, such as 30s or 5m, or whole seconds`,
		"exec_timeout=-1":               `exec_timeout: "-1" is not a duration: use a number with a unit, such as 30s or 5m, or whole seconds`,
		"read_timeout=-1s":              `read_timeout: "-1s" is not a duration: use a number with a unit, such as 30s or 5m, or whole seconds`,
		"read_timeout=9999999999999999": `read_timeout: "9999999999999999" is not a duration: use a number with a unit, such as 30s or 5m, or whole seconds`,
		"write_timeout=0":               "write_timeout: must be longer than 0",
		"port=http":                     `port: "http" is not a whole number from 1 to 65535`,
		"port=0":                        `port: "0" is not a whole number from 1 to 65535`,
		"max_inflight=-1":               `max_inflight: "-1" is not a whole number from 0 to 2147483647`,
		"log_buffer_size=big":           `log_buffer_size: "big" is not a whole number from -1 to 2147483647`,
		"prefix_logs=yes":               `prefix_logs: "yes" is neither true nor false`,
		"upstream_url=127.0.0.1:80":     `upstream_url: "127.0.0.1:80" is not where a function could listen: use the form http://127.0.0.1:8082`,
		"content_type=a\rb":             `content_type: "a\rb" has a line break in it`,
		"prestart=-1":                   `prestart: "-1" is not a whole number from 0 to 256`,
		"mode=http\nprestart=1":         "prestart: mode http has no process for each call: use it with streaming, serializing or classic",
		"cgi_headers=true\nprestart=1":  "prestart: a process that starts before its call cannot be given that call's headers: leave cgi_headers out",
	} {
		_, err := watchdog.ConfigFromEnv(append([]string{"fprocess=x"}, strings.Split(env, "\n")...))
		if err == nil || err.Error() != want || lofn.CodeOf(err) != lofn.Invalid {
			t.Errorf("%s: got %v (code %v), want %s", env, err, lofn.CodeOf(err), want)
		}
	}
	if _, err := watchdog.ConfigFromEnv([]string{"fprocess=x", "jwt_auth=true"}); lofn.CodeOf(err) != lofn.Unimplemented {
		t.Errorf("jwt_auth: got %v", err)
	}
}

func TestNewErrors(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"mode=http", "fprocess=x"}, "upstream_url: is required"},
		{[]string{"mode=static", "static_path=/no/such/folder"}, "static_path: /no/such/folder cannot be opened"},
	} {
		config, err := watchdog.ConfigFromEnv(c.env)
		if err != nil {
			t.Fatal(err)
		}
		_, err = watchdog.New(config, watchdog.Options{})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || lofn.CodeOf(err) != lofn.Invalid {
			t.Errorf("%q: got %v, want %s", c.env, err, c.want)
		}
	}
	for _, mode := range []watchdog.Mode{"", watchdog.Classic} {
		if _, err := watchdog.New(watchdog.Config{Mode: mode}, watchdog.Options{}); lofn.CodeOf(err) != lofn.Invalid {
			t.Errorf("mode %q: got %v", mode, err)
		}
	}
}
