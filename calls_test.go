package lofn_test

import (
	"reflect"
	"testing"
	"time"

	"lofn"
)

func TestPolicy(t *testing.T) {
	absent := lofn.Policy{Timeout: lofn.DefaultTimeout, TimeoutBy: "the default of exec_timeout", StreamTimeoutBy: "the default of stream_timeout", MaxQueue: lofn.DefaultMaxQueue,
		Async: lofn.Async{Attempts: 10, Codes: []int{408, 429, 500, 502, 503, 504}, MinWait: 10 * time.Second, MaxWait: 2 * time.Minute}}
	changed := func(change func(*lofn.Policy)) lofn.Policy {
		p := absent
		change(&p)
		return p
	}
	type set = map[string]string
	for name, tc := range map[string]struct {
		env, image, annotations set
		want                    lofn.Policy
	}{
		"nothing":         {want: absent},
		"other variables": {env: set{"A": "1"}, image: set{}, annotations: set{"b": "2"}, want: absent},
		"environment": {env: set{"exec_timeout": "90", "max_inflight": "4"}, want: changed(func(p *lofn.Policy) {
			p.Timeout, p.TimeoutBy, p.MaxInflight = 90*time.Second, "its exec_timeout", 4
		})},
		"streams": {env: set{"stream_timeout": "1h"}, image: set{"stream_timeout": "1m"}, want: changed(func(p *lofn.Policy) {
			p.StreamTimeout, p.StreamTimeoutBy = time.Hour, "its stream_timeout"
		})},
		"image": {image: set{"exec_timeout": "10s", "max_inflight": "3"}, want: changed(func(p *lofn.Policy) {
			p.Timeout, p.TimeoutBy, p.MaxInflight = 10*time.Second, "its image's exec_timeout", 3
		})},
		"environment over image": {env: set{"exec_timeout": "0", "max_inflight": "0"}, image: set{"exec_timeout": "10s", "max_inflight": "3"},
			want: changed(func(p *lofn.Policy) { p.Timeout, p.TimeoutBy = 0, "its exec_timeout" })},
		"empty over image": {env: set{"max_inflight": ""}, image: set{"max_inflight": "3"}, want: absent},
		"retries": {annotations: set{"com.openfaas.retry.attempts": "3", "com.openfaas.retry.codes": "503, 429", "com.openfaas.retry.min_wait": "200ms",
			"com.openfaas.retry.max_wait": "5", "lofn.dev/max-backlog": "7", "lofn.dev/callback-secret": "key"},
			want: changed(func(p *lofn.Policy) {
				p.Async = lofn.Async{Attempts: 3, Codes: []int{429, 503}, MinWait: 200 * time.Millisecond, MaxWait: 5 * time.Second, MaxBacklog: 7, CallbackSecret: "key"}
			})},
		"annotations": {annotations: set{"lofn.dev/max-queue": "0", "lofn.dev/max-body": "10Mi", "lofn.dev/cors-origins": " https://a.example:8443 , *,"},
			want: changed(func(p *lofn.Policy) {
				p.MaxQueue, p.MaxBody, p.Origins = 0, 10<<20, lofn.Origins{"https://a.example:8443", "*"}
			})},
	} {
		fn := lofn.Function{Spec: lofn.Spec{Env: tc.env, Annotations: tc.annotations}, Defaults: tc.image}
		if got, err := fn.Policy(); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v (%v), want %+v", name, got, err, tc.want)
		}
	}
}

// TestAPolicyThatMakesNoSense is that of a function which was stored before
// its values were checked: it must be possible to call it.
func TestAPolicyThatMakesNoSense(t *testing.T) {
	fn := lofn.Function{Spec: lofn.Spec{
		Env:         map[string]string{"exec_timeout": "5s", "max_inflight": "few"},
		Annotations: map[string]string{lofn.AnnotationMaxQueue: "long", lofn.AnnotationMaxBody: "big"},
	}}
	p, err := fn.Policy()
	if lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("error %v", err)
	}
	if p.Timeout != 5*time.Second || p.MaxInflight != 0 || p.MaxQueue != lofn.DefaultMaxQueue || p.MaxBody != 0 {
		t.Errorf("read as %+v", p)
	}
}

func TestOrigins(t *testing.T) {
	for _, tc := range []struct {
		origins     lofn.Origins
		origin      string
		name        string
		credentials bool
	}{
		{nil, "https://a.example", "", false},
		{lofn.Origins{"https://a.example"}, "https://a.example", "https://a.example", true},
		{lofn.Origins{"https://a.example"}, "https://a.example.evil", "", false},
		{lofn.Origins{"https://a.example"}, "null", "", false},
		{lofn.Origins{"https://a.example", "*"}, "https://a.example", "https://a.example", true},
		{lofn.Origins{"https://a.example", "*"}, "https://b.example", "*", false},
		{lofn.Origins{"*"}, "*", "*", false},
	} {
		if name, credentials := tc.origins.Allows(tc.origin); name != tc.name || credentials != tc.credentials {
			t.Errorf("%q of %v: %q with credentials %v, want %q, %v", tc.origin, tc.origins, name, credentials, tc.name, tc.credentials)
		}
	}
}

func TestAnImagesDefaults(t *testing.T) {
	image := lofn.Image{Env: []string{"PATH=/bin", "exec_timeout=10s", "max_inflight=", "odd"}}
	if got := image.Defaults(); !reflect.DeepEqual(got, map[string]string{"exec_timeout": "10s"}) {
		t.Errorf("got %v", got)
	}
}
