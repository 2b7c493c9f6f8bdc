//go:build linux

package process_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lofn"
	"lofn/internal/provider/process"
)

// speech is a language whose interpreters can wait, with a template of it whose
// handler evaluates what it is sent.
type speech struct {
	interpreter string
	files       map[string]string
	env         []string
	// own reads the environment that the process was started with.
	own string
}

const pythonHandler = `import json, os, resource, signal, sys
def handle(event, context):
    if event.path == "/crash":
        os._exit(7)
    return str(eval(event.body)) if event.path == "/eval" else os.environ["answer"]
`

const nodeHandler = `const fs = require('node:fs')
module.exports = async (event, context) => {
  if (event.path === '/crash') process.exit(7)
  return context.succeed(event.path === '/eval' ? String(await eval(event.body.toString())) : process.env.answer)
}
`

// python and node skip the test where there is no such interpreter.
func python(t *testing.T) speech {
	return speech{
		interpreter: found(t, "python3"),
		files:       map[string]string{"index.py": template(t, "python3-http/index.py"), "function/__init__.py": "", "function/handler.py": pythonHandler},
		env:         []string{"mode=http", "fprocess=python3 index.py", "PYTHONDONTWRITEBYTECODE=1"},
		own:         `open("/proc/self/environ").read()`,
	}
}

func node(t *testing.T) speech {
	return speech{
		interpreter: found(t, "node"),
		files:       map[string]string{"index.js": template(t, "node22/index.js"), "function/handler.js": nodeHandler},
		env:         []string{"mode=http", "fprocess=node index.js"},
		own:         `fs.readFileSync('/proc/self/environ')`,
	}
}

func found(t *testing.T, interpreter string) string {
	t.Helper()
	if _, err := exec.LookPath(interpreter); err != nil {
		t.Skip("needs " + interpreter)
	}
	return interpreter
}

func template(t *testing.T, name string) string {
	content, err := os.ReadFile(filepath.Join("../../../templates", name))
	if err != nil {
		t.Skip("needs the templates of this module: ", err)
	}
	return string(content)
}

// inBoth runs a test in both languages.
func inBoth(t *testing.T, test func(*testing.T, speech)) {
	t.Run("python", func(t *testing.T) { test(t, python(t)) })
	t.Run("node", func(t *testing.T) { test(t, node(t)) })
}

// standbyRig is a provider that keeps n interpreters of a kind waiting, with an
// image of the language that has the interpreter's name.
func standbyRig(t *testing.T, n int, s speech) *rig {
	r := newRig(t, func(c *process.Config) { c.Standby, c.Environ = n, []string{"PATH=" + os.Getenv("PATH")} })
	r.isolated()
	r.image(s.interpreter, s.files, s.env...)
	return r
}

// eval evaluates an expression in the function.
func (r *rig) eval(replica lofn.Replica, expression string) string {
	r.t.Helper()
	out, err := call(r.t.Context(), replica, "/eval", expression)
	if err != nil {
		r.t.Fatalf("%s: %v: %s\nlog:\n%s", expression, err, out, r.log(replica.Function.Name))
	}
	return out
}

// waited reports whether the replica was an interpreter on standby.
func (r *rig) waited(replica lofn.Replica, s speech) bool {
	waited := strings.Contains(r.eval(replica, s.own), "/var/openfaas/standby")
	if replica.Startup.Standby != waited {
		r.t.Errorf("%s was on standby: %t, and says %t", replica.ID, waited, replica.Startup.Standby)
	}
	return waited
}

// asleep scales the function to nothing and waits until the replicas are gone.
func (r *rig) asleep(fn lofn.Function, replicas ...lofn.Replica) {
	r.t.Helper()
	fn.Replicas = 0
	r.gonewith(func(ctx context.Context) error { return r.Ensure(ctx, fn) }, replicas)
}

// woken scales the function to nothing and back until all of its replicas were
// interpreters on standby, and returns them.
func (r *rig) woken(fn lofn.Function, s speech) (replicas []lofn.Replica) {
	r.t.Helper()
	replicas = r.deploy(fn)
	eventually(r.t, "the replicas of "+fn.Name+" to have been on standby", func() bool {
		r.asleep(fn, replicas...)
		eventually(r.t, "interpreters to start", func() bool { return len(onStandby(os.Getpid())) >= fn.Replicas })
		replicas = r.deploy(fn)
		return !slices.ContainsFunc(replicas, func(replica lofn.Replica) bool { return !r.waited(replica, s) })
	})
	return replicas
}

// onStandby returns the interpreters of a platform that wait.
func onStandby(platform int) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		status, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "status"))
		mounts, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "mountinfo"))
		if bytes.Contains(env, []byte("/var/openfaas/standby")) && bytes.Contains(status, []byte(fmt.Sprintf("PPid:\t%d\n", platform))) &&
			!bytes.Contains(mounts, []byte(" "+lofn.AppDir+" ")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestStandbyIsLikeAStart compares what a program finds in an interpreter that
// waited with what it finds in one that was started for it.
func TestStandbyIsLikeAStart(t *testing.T) {
	questions := map[string][]string{
		"python3": {
			`json.dumps({k: v for k, v in os.environ.items() if k not in ("LOFN_INSTANCE", "LOFN_SOCKET", "PORT", "http_port")}, sort_keys=True)`,
			`sorted(os.environ.keys())`,
			`__import__("subprocess").check_output("env | cut -d= -f1 | sort", shell=True)`,
			`(sys.argv, sys.orig_argv, sys.path, sys.executable, sys.flags, sys.prefix, sys.warnoptions)`,
			`sorted(k for k in vars(sys.modules["__main__"]))`,
			`[getattr(sys.modules["__main__"], k) for k in ("__name__", "__file__", "__package__", "__spec__", "__doc__", "__cached__")]`,
			`type(sys.modules["__main__"].__loader__)`,
			`sorted(sys.modules)`,
			`sorted(map(str, sys.path_importer_cache))`,
			`(sys.stdin, sys.stdout, sys.stderr)`,
			`(os.getcwd(), os.getpid(), os.getppid(), os.getsid(0), os.nice(0), os.umask(0o22))`,
			`[str(signal.getsignal(n)).split(" at ")[0] for n in (signal.SIGINT, signal.SIGPIPE, signal.SIGHUP)]`,
			`[resource.getrlimit(n) for n in range(16)]`,
			`[l for l in open("/proc/self/status") if l.split(":")[0] in ("Cap" + s for s in ("Inh", "Prm", "Eff", "Bnd", "Amb"))]`,
			`[l for l in open("/proc/self/status") if l.split(":")[0] in ("NoNewPrivs", "SigCgt", "SigIgn", "SigBlk")]`,
			`open("/proc/self/oom_score_adj").read() + open("/proc/self/cmdline").read() + open("/proc/self/comm").read()`,
			`[" ".join(l.split()[3:6]) for l in open("/proc/self/mountinfo")]`,
			`sorted(os.listdir("/var/openfaas/secrets")), open("/var/openfaas/secrets/key").read()`,
			`os.listdir("/tmp"), os.listdir("/home/app"), os.access("/home/app", os.W_OK)`,
			`__import__("time").tzname, __import__("locale").getlocale(), sys.getfilesystemencoding()`,
		},
		"node": {
			`JSON.stringify(Object.entries(process.env).filter(([k]) => !/^(LOFN_INSTANCE|LOFN_SOCKET|PORT|http_port)$/.test(k)).sort())`,
			`Object.keys(process.env).sort()`,
			`require('child_process').execSync('env | cut -d= -f1 | sort')`,
			`JSON.stringify([process.argv, process.execArgv, process.argv0, process.execPath, process.title])`,
			`JSON.stringify([require.main.filename, require.main.id, require.main.loaded, require.main.paths, module.paths])`,
			`JSON.stringify(Object.keys(require.cache))`,
			`JSON.stringify([process.cwd(), process.pid, process.ppid, process.umask(0o22), process.exitCode])`,
			`JSON.stringify(Object.getOwnPropertyNames(globalThis).sort())`,
			`JSON.stringify(process.eventNames().map(String).sort())`,
			`fs.readFileSync('/proc/self/status', 'utf8').split('\n').filter(l => /^(Cap|NoNewPrivs|SigCgt|SigIgn|SigBlk)/.test(l)).join()`,
			`fs.readFileSync('/proc/self/oom_score_adj', 'utf8') + fs.readFileSync('/proc/self/cmdline', 'utf8') + fs.readFileSync('/proc/self/limits', 'utf8')`,
			`fs.readdirSync('/proc/self/fd').map(n => { try { return fs.readlinkSync('/proc/self/fd/' + n).replace(/\d+/g, '') } catch { return '' } }).sort().join()`,
			`fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map(l => l.split(' ').slice(3, 6)).join()`,
			`fs.readdirSync('/var/openfaas/secrets').join() + fs.readFileSync('/var/openfaas/secrets/key')`,
			`fs.readdirSync('/tmp').join() + fs.readdirSync('/home/app').join()`,
			`new Date(0).toString() + Intl.DateTimeFormat().resolvedOptions().locale`,
			`new Promise(done => new (require('worker_threads').Worker)('require("worker_threads").parentPort.postMessage(process.execArgv.length)', { eval: true }).on('message', done).on('error', done))`,
		},
	}
	inBoth(t, func(t *testing.T, s speech) {
		r := standbyRig(t, 1, s)
		r.setSecret("key", "hush")
		for name, change := range map[string]func(*lofn.Function){
			"plain":    func(*lofn.Function) {},
			"limited":  func(fn *lofn.Function) { fn.Spec.Limits = &lofn.Resources{Memory: "512Mi", CPU: "1"} },
			"frozen":   func(fn *lofn.Function) { fn.Spec.ReadOnlyRootFilesystem = true },
			"elsewhen": func(fn *lofn.Function) { fn.Spec.Env["TZ"], fn.Spec.Env["LANG"] = "Asia/Tokyo", "C.UTF-8" },
		} {
			fn := function(name, s.interpreter, "text=a=b\nc", "empty=", "accent=é")
			fn.Spec.Secrets = []string{"key"}
			change(&fn)
			direct := r.deploy(fn)[0]
			if r.waited(direct, s) {
				t.Fatal("nothing knew of the function, and it was on standby")
			}
			var want []string
			for _, question := range questions[s.interpreter] {
				want = append(want, r.eval(direct, question))
			}
			for i, got := range r.woken(fn, s) {
				for j, question := range questions[s.interpreter] {
					if answer := r.eval(got, question); answer != want[j] {
						t.Errorf("%s, replica %d: %s is\n%s\nand after a start of its own\n%s", name, i, question, answer, want[j])
					}
				}
			}
			must(t, r.Remove(t.Context(), fn.Ref))
		}
	})
}

// TestStandbyKeepsFunctionsApart wakes two functions from interpreters of the
// same kind.
func TestStandbyKeepsFunctionsApart(t *testing.T) {
	inBoth(t, func(t *testing.T, s speech) {
		r := standbyRig(t, 2, s)
		see := map[string]string{"python3": `os.listdir("/var/openfaas/secrets"), sorted(os.environ), os.listdir("/tmp")`,
			"node": `fs.readdirSync('/var/openfaas/secrets') + Object.keys(process.env) + fs.readdirSync('/tmp')`}[s.interpreter]
		leave := map[string]string{"python3": `open("/tmp/trace", "w").close()`, "node": `fs.writeFileSync('/tmp/trace', '')`}[s.interpreter]
		uid := map[string]string{"python3": `os.getuid()`, "node": `process.getuid()`}[s.interpreter]
		var replicas []lofn.Replica
		for _, name := range []string{"alice", "bob"} {
			r.setSecret(name+"-secret", "x")
			fn := function(name, s.interpreter, name+"_variable=1")
			fn.Spec.Secrets = []string{name + "-secret"}
			replicas = append(replicas, r.woken(fn, s)...)
			r.eval(replicas[len(replicas)-1], leave)
		}
		alice, bob := r.eval(replicas[0], see), r.eval(replicas[1], see)
		if !strings.Contains(alice, "alice-secret") || !strings.Contains(alice, "alice_variable") || strings.Contains(alice, "bob") {
			t.Errorf("alice sees %s", alice)
		}
		if !strings.Contains(bob, "bob-secret") || !strings.Contains(bob, "bob_variable") || strings.Contains(bob, "alice") {
			t.Errorf("bob sees %s", bob)
		}
		one, other := r.eval(replicas[0], uid), r.eval(replicas[1], uid)
		if one == "0" || os.Getuid() == 0 && !ownNamespace() && one == other {
			t.Errorf("the functions run as users %s and %s", one, other)
		}
		r.setSecret("bob-secret", "changed")
		must(t, r.SyncSecret(t.Context(), lofn.DefaultNamespace, "bob-secret"))
		read := map[string]string{"python3": `open("/var/openfaas/secrets/bob-secret").read()`, "node": `fs.readFileSync('/var/openfaas/secrets/bob-secret')`}[s.interpreter]
		if got := r.eval(replicas[1], read); got != "changed" {
			t.Errorf("a changed secret is %q", got)
		}
	})
}

// TestStandbyCannotBeTamperedWith tries to change what all interpreters load.
func TestStandbyCannotBeTamperedWith(t *testing.T) {
	r := newRig(t)
	r.isolated()
	replica := r.deploy(function("mallory", "self"))[0]
	for _, script := range []string{"echo x >>/var/openfaas/standby/preload.cjs", "touch /var/openfaas/standby/json.py", "touch /anything"} {
		if got := r.run(replica, script); !strings.Contains(got, "Read-only file system") && !strings.Contains(got, "Permission denied") {
			t.Errorf("%s: %q", script, got)
		}
	}
}

func TestStandbyHasNoSeedInCommon(t *testing.T) {
	s := python(t)
	r := standbyRig(t, 2, s)
	fn := function("dice", "python3")
	fn.Replicas = 2
	two := r.woken(fn, s)
	for _, question := range []string{`hash("lofn")`, `__import__("random").random()`, `id(sys)`} {
		if one, other := r.eval(two[0], question), r.eval(two[1], question); one == other {
			t.Errorf("%s is %s in both", question, one)
		}
	}
}

// TestStandbyRunsWhatIsMain has programs say how they were started, which end
// then: the reason and the log must be those of a start of their own.
func TestStandbyRunsWhatIsMain(t *testing.T) {
	for name, test := range map[string]struct{ command, file, content string }{
		"error":     {"python3 main.py", "main.py", "import os\ndef f(): raise KeyError('no luck')\nif __name__ == '__main__': f()\n"},
		"exit":      {"python3 main.py one two", "main.py", "import sys\nprint(sys.argv, flush=True)\nsys.exit('no luck')\n"},
		"syntax":    {"python3 main.py", "main.py", "print('unfinished'\n"},
		"absent":    {"python3 other.py", "main.py", ""},
		"shadow":    {"python3 main.py", "main.py", "import json, sys\nprint(json.__file__, sys.argv, sys.path[0], 'sitecustomize' in sys.modules, flush=True)\nsys.exit(4)\n"},
		"open":      {"python3 main.py", "main.py", "import os\nprint(sorted(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task')), flush=True)\nos._exit(3)\n"},
		"astray":    {"python3 no/such/folder.py", "main.py", ""},
		"interrupt": {"python3 main.py", "main.py", "import os, signal\nos.write(1, b'x')\nraise KeyboardInterrupt\n"},
		"throw":     {"node main.js", "main.js", "console.log(require.main === module, process.argv, __filename)\nfunction f () { throw new TypeError('no luck') }\nf()\n"},
		"module":    {"node main.mjs a b", "main.mjs", "import fs from 'node:fs'\nconsole.log(import.meta.url, process.argv, typeof require)\nawait Promise.reject(new Error('no luck'))\n"},
		"missing":   {"node other.js", "main.js", ""},
		"status":    {"node main.js", "main.js", "process.exitCode = 9\n"},
	} {
		t.Run(name, func(t *testing.T) {
			words := strings.Fields(test.command)
			found(t, words[0])
			files := map[string]string{test.file: test.content, "type.txt": ""}
			if name == "shadow" {
				files["json.py"] = ""
			}
			outcome := func(standby int, told string) (log string) {
				platform := new(logBuffer)
				r := newRig(t, func(c *process.Config) {
					c.Standby, c.Log = standby, platform.logger()
				})
				r.isolated()
				r.image("main", files, "mode=http", "fprocess="+test.command, "PYTHONDONTWRITEBYTECODE=1")
				fn := function("main", "main")
				r.ensure(fn)
				defer func() {
					if t.Failed() {
						t.Log(platform)
					}
				}()
				r.state(fn, "failed", func(now []lofn.Replica) bool {
					return len(now) == 1 && now[0].State == lofn.Failed && strings.Contains(platform.String(), told)
				})
				eventually(t, "the log to tell why", func() bool { return strings.HasSuffix(r.log("main"), "\n") })
				eventually(t, "the log to tell why", func() bool {
					log = duration.ReplaceAllString(r.log("main"), " after …")
					return strings.Contains(log[strings.LastIndex(strings.TrimSpace(log), "\n")+1:], "lofn: ")
				})
				return log
			}
			want := outcome(0, "")
			want = want[:strings.Index(want, " after …")]
			got := outcome(1, "was on standby")
			// The reason is the last line of each start's log.
			for i, start := range strings.SplitAfter(got, " after …") {
				if _, rest, _ := strings.Cut(start, "\n"); i > 0 && start != "" {
					start = rest
				}
				if start != "" && !strings.HasPrefix(start, want) {
					t.Errorf("the log of a start is\n%s\nand without standby\n%s", start, want)
				}
			}
		})
	}
}

// logBuffer is the platform's own log.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

var duration = regexp.MustCompile(` after [0-9.]+(ms|s)\b`)
