package containerd_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
)

// eachWatchdog runs a test with images that have fwatchdog in them, and, where a
// variable names one, with OpenFaaS' own.
func eachWatchdog(t *testing.T, variable string, test func(t *testing.T, s *site, watchdog []byte)) {
	s := newSite(t)
	t.Run("fwatchdog", func(t *testing.T) { test(t, s, containerdtest.Program(t, "lofn/cmd/fwatchdog")) })
	path := os.Getenv(variable)
	if path == "" {
		return
	}
	t.Run(strings.TrimPrefix(variable, "LOFN_PEER_"), func(t *testing.T) {
		watchdog, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		test(t, s, watchdog)
	})
}

const ofWatchdog, classicWatchdog = "LOFN_PEER_OF_WATCHDOG", "LOFN_PEER_CLASSIC_WATCHDOG"

// exchange is a call with its answer.
type exchange struct {
	path, body string
	status     int    // failing stands for any that says so
	want       string // in the answer
}

const failing = 0

func (r *rig) exchange(t *testing.T, replica lofn.Replica, e exchange) {
	t.Helper()
	if status, text := r.call(replica, e.path, e.body); status != e.status && (e.status != failing || status < 400) || !strings.Contains(text, e.want) {
		t.Errorf("%s: %d %q, want %d and %q", e.path, status, text, e.status, e.want)
	}
}

func TestImagesInModeHTTP(t *testing.T) {
	eachWatchdog(t, ofWatchdog, func(t *testing.T, s *site, watchdog []byte) {
		r := newRig(t, s)
		r.setSecret("key", "sesame")
		fn := r.function(t, ref("template"), s.push(t, "http:1", pythonImage(t, watchdog, "exec_timeout=1s")))
		fn.Spec.Secrets = []string{"key"}
		replica := r.start(fn)
		for _, e := range []exchange{
			{"/a/path?q=1", "body", http.StatusCreated, "POST /a/path?q=1 body app 101"},
			{"/secret", "", http.StatusOK, "sesame"},
			{"/home", "", http.StatusOK, "/home/app"},
			{"/hang", "", http.StatusGatewayTimeout, ""},
		} {
			r.exchange(t, replica, e)
		}
		for _, path := range []string{"/_/health", "/_/ready"} {
			if answer, err := http.Get("http://" + replica.Address + path); err != nil || answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %v, %v", path, answer, err)
			}
		}
		containerdtest.Until(t, "its log has what the function wrote", func() bool {
			return strings.Contains(r.logOf("template"), "asked for /a/path?q=1")
		})
	})
}

func TestImagesWithAProcessForEachCall(t *testing.T) {
	for name, test := range map[string]struct {
		watchdog string
		env      []string
		exchange exchange
	}{
		"streaming":            {ofWatchdog, []string{"mode=streaming", "fprocess=cat"}, exchange{"/", "as it came", http.StatusOK, "as it came"}},
		"streaming, request":   {ofWatchdog, []string{"mode=streaming", "fprocess=env"}, exchange{"/p?q=1", "", http.StatusOK, "Http_Query=q=1\n"}},
		"serializing":          {ofWatchdog, []string{"mode=serializing", "fprocess=wc -c"}, exchange{"/", "twelve bytes", http.StatusOK, "12\n"}},
		"serializing, user":    {ofWatchdog, []string{"mode=serializing", "fprocess=id"}, exchange{"/", "", http.StatusOK, "uid=100(app) gid=101(app)"}},
		"serializing, failing": {ofWatchdog, []string{"mode=serializing", "fprocess=cat /nowhere"}, exchange{"/", "", http.StatusInternalServerError, ""}},
		"static":               {ofWatchdog, []string{"mode=static", "static_path=/home/app/public"}, exchange{"/page.html", "", http.StatusOK, "<p>page"}},
		"classic":              {classicWatchdog, []string{"fprocess=cat", "write_debug=true"}, exchange{"/", "as it came", http.StatusOK, "as it came"}},
		"classic, method":      {classicWatchdog, []string{"fprocess=env"}, exchange{"/", "", http.StatusOK, "Http_Method=POST\n"}},
		"classic, query":       {classicWatchdog, []string{"fprocess=env"}, exchange{"/?q=1", "", http.StatusOK, "Http_Query=q=1\n"}},
		"classic, folder":      {classicWatchdog, []string{"fprocess=pwd"}, exchange{"/", "", http.StatusOK, "/home/app\n"}},
		"classic, deadline":    {classicWatchdog, []string{"fprocess=sleep 60", "exec_timeout=1s"}, exchange{"/", "", failing, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			eachWatchdog(t, test.watchdog, func(t *testing.T, s *site, watchdog []byte) {
				r := newRig(t, s)
				image := templateImage(t, watchdog, test.env, append(busybox(t), appFile("public/page.html", "<p>page"))...)
				r.exchange(t, r.start(r.function(t, ref("template"), s.push(t, "fork:1", image))), test.exchange)
			})
		})
	}
}

// As strict as it gets: another user than the image's, and nothing but /tmp to
// write to.
func TestImagesUnderRestrictions(t *testing.T) {
	eachWatchdog(t, ofWatchdog, func(t *testing.T, s *site, watchdog []byte) {
		r := newRig(t, s)
		r.setSecret("key", "sesame")
		image := templateImage(t, watchdog, []string{"mode=streaming", "fprocess=sh function.sh"}, append(busybox(t),
			appFile("function.sh", "id -u; cat /var/openfaas/secrets/key; [ -e /tmp/.lock ] && echo locked; echo x > /home/app/file || echo read-only"))...)
		fn := r.function(t, ref("strict"), s.push(t, "strict:1", image))
		fn.Spec.Secrets, fn.Spec.ReadOnlyRootFilesystem = []string{"key"}, true
		fn.Spec.Annotations = map[string]string{lofn.AnnotationNonRoot: "true"}
		r.exchange(t, r.start(fn), exchange{"/", "", http.StatusOK, "12000\nsesamelocked\nread-only\n"})
	})
}

// The pool counts the calls of a function that says how many it takes, so its
// watchdog does not.
func TestImagesThatLimitTheirCalls(t *testing.T) {
	eachWatchdog(t, ofWatchdog, func(t *testing.T, s *site, watchdog []byte) {
		r := newRig(t, s)
		image := templateImage(t, watchdog, []string{"mode=streaming", "fprocess=env", "max_inflight=3"}, busybox(t)...)
		fn := r.function(t, ref("limited"), s.push(t, "limited:1", image))
		if policy, _ := fn.Policy(); policy.MaxInflight != 3 {
			t.Errorf("it takes %d calls at once, want 3", policy.MaxInflight)
		}
		r.exchange(t, r.start(fn), exchange{"/", "", http.StatusOK, "max_inflight=0\n"})
	})
}

// A call that is under way when the container is asked to end is answered whole:
// this one ends when the watchdog has removed its lock.
func TestImagesEndTheirCalls(t *testing.T) {
	eachWatchdog(t, ofWatchdog, func(t *testing.T, s *site, watchdog []byte) {
		r := newRig(t, s)
		image := templateImage(t, watchdog, []string{"mode=streaming", "fprocess=sh function.sh", "healthcheck_interval=1s"}, append(busybox(t),
			appFile("function.sh", "echo begun >&2; while [ -e /tmp/.lock ]; do sleep 0.05; done; echo ended"))...)
		fn := r.function(t, ref("leaving"), s.push(t, "leaving:1", image))
		replica := r.start(fn)
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			answer, err := http.Get("http://" + replica.Address + "/")
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			if text, err := io.ReadAll(answer.Body); err != nil || string(text) != "ended\n" {
				t.Errorf("the answer is %q, %v", text, err)
			}
		}()
		containerdtest.Until(t, "the call is under way", func() bool { return strings.Contains(r.logOf("leaving"), "begun") })
		fn.Replicas = 0
		r.ensure(fn)
		<-answered
		r.ready(fn.Ref, 0)
	})
}

func TestImagesThatAreNotWell(t *testing.T) {
	r := newRig(t, newSite(t))
	// Without its lock a watchdog says that it is not well, for ever.
	image := templateImage(t, containerdtest.Program(t, "lofn/cmd/fwatchdog"), []string{"mode=streaming", "fprocess=cat", "suppress_lock=true"}, busybox(t)...)
	fn := r.function(t, ref("unwell"), r.site.push(t, "unwell:1", image), "ready_timeout=1s")
	r.ensure(fn)
	r.until(fn.Ref, "a failure that says what was asked", func(all []lofn.Replica) bool {
		return len(all) == 1 && strings.Contains(all[0].Reason, "not ready within 1s: a GET of /_/health is answered with status 503")
	})
}

// of-watchdog is well before its function listens, and answers 500 until then.
func TestImagesWhoseFunctionDoesNotListen(t *testing.T) {
	r := newRig(t, newSite(t))
	image := templateImage(t, containerdtest.Program(t, "lofn/cmd/fwatchdog"),
		[]string{"mode=http", "fprocess=sleep 600", "upstream_url=http://127.0.0.1:5000"}, busybox(t)...)
	fn := r.function(t, ref("deaf"), r.site.push(t, "deaf:1", image), "ready_timeout=1s")
	r.ensure(fn)
	r.until(fn.Ref, "a failure that names the port", func(all []lofn.Replica) bool {
		return len(all) == 1 && strings.Contains(all[0].Reason, "which shall do so on port 5000 (upstream_url)")
	})
}
