package process

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lofn"
	"lofn/internal/watchdog"
)

// program is what a replica runs, as its function and image say.
type program struct {
	fn       lofn.Function
	id       string
	image    lofn.Image
	watchdog watchdog.Config
	// env has everything but where to listen and, if nobody set it, PATH.
	env     map[string]string
	dir     string
	secrets map[string][]byte
	// memory is in bytes and milliCPU in thousandths of a core; 0 is no limit.
	memory, milliCPU int64
	// ready bounds the time until it listens, grace that between the request
	// to end and the end.
	ready, grace time.Duration
	// began is when its start did.
	began time.Time
	// ended is called once, after the Done of the replica was closed.
	ended func()
}

// inherited are the variables of the platform that functions get.
var inherited = []string{
	"LANG", "LC_ALL", "LC_CTYPE", "TZ",
	"http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
}

const (
	defaultGrace = 10 * time.Second
	longestGrace = time.Minute
)

// newProgram returns an error with code Invalid that names the field at fault.
func newProgram(fn lofn.Function, id string, image lofn.Image, c Config) (*program, error) {
	p := &program{fn: fn, id: id, image: image, dir: lofn.AppDir, ready: c.ReadyTimeout, grace: defaultGrace}
	if path.IsAbs(image.WorkingDir) {
		p.dir = path.Clean(image.WorkingDir)
	}
	p.env = environment(fn, id, image, c)
	var err error
	if p.watchdog, err = watchdog.ConfigFromEnv(pairs(p.env)); err != nil {
		return nil, lofn.Errorf(lofn.CodeOf(err), "envVars: %w", err)
	}
	if p.env[lofn.EnvTimeout] == "" {
		// One default for all modes: the gateway's.
		p.watchdog.ExecTimeout = lofn.DefaultTimeout
	}
	if policy, _ := fn.Policy(); policy.MaxInflight > 0 {
		// The pool counts, and has the calls wait. A second count would learn
		// later that a caller has left, and refuse the next call.
		p.watchdog.MaxInflight = 0
	}
	if p.env["prefix_logs"] == "" {
		// The log keeps the time and the instance of each line.
		p.watchdog.PrefixLogs = false
	}
	if p.memory, err = fn.Spec.Limits.MemoryBytes(); err != nil {
		return nil, err
	}
	if p.milliCPU, err = fn.Spec.Limits.MilliCPU(); err != nil {
		return nil, err
	}
	return p, p.durations()
}

func (p *program) durations() error {
	if text := p.env["ready_timeout"]; text != "" {
		d, err := lofn.ParseSeconds(text)
		if err != nil || d == 0 {
			return lofn.Errorf(lofn.Invalid, "envVars: ready_timeout: %q is not a duration above 0, such as 30s", text)
		}
		p.ready = d
	}
	for _, name := range []string{"write_timeout", lofn.EnvTimeout} {
		if d, err := lofn.ParseSeconds(p.env[name]); err == nil && d > 0 {
			p.grace = min(d, longestGrace)
		}
	}
	return nil
}

// environment returns what the function's processes are given: of the
// platform's own only what is harmless, then the image's, then the function's,
// and last what only the platform knows.
func environment(fn lofn.Function, id string, image lofn.Image, c Config) map[string]string {
	env := map[string]string{"HOME": "/tmp"}
	for _, pair := range c.Environ {
		if name, value, ok := strings.Cut(pair, "="); ok && slices.Contains(inherited, name) {
			env[name] = value
		}
	}
	for _, pair := range image.Env {
		if name, value, ok := strings.Cut(pair, "="); ok && name != "" {
			env[name] = value
		}
	}
	maps.Copy(env, fn.Spec.Env)
	if env[lofn.EnvProcess] == "" && env["function_process"] == "" && len(image.Process) > 0 && filepath.Base(image.Process[0]) != "fwatchdog" {
		env[lofn.EnvProcess] = strings.Join(image.Process, " ")
	}
	if fn.Spec.Process != "" {
		delete(env, "function_process")
		env[lofn.EnvProcess] = fn.Spec.Process
	}
	env[lofn.EnvName], env[lofn.EnvNamespace] = fn.Name, fn.Namespace
	env[envInstance] = id
	if c.GatewayURL != "" {
		env["gateway_url"], env["OPENFAAS_URL"] = c.GatewayURL, c.GatewayURL
	}
	return env
}

// envInstance tells a process which replica it belongs to.
const envInstance = "LOFN_INSTANCE"

// with returns the environment with more variables.
func (p *program) with(more map[string]string) []string {
	env := maps.Clone(p.env)
	maps.Copy(env, more)
	return pairs(env)
}

func pairs(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}

// files is the folder of the image that a function sees as /home/app.
func (p *program) files() string { return filepath.Join(p.image.Root, lofn.AppDir) }

// onMachine returns where a path in the function's view is on the machine.
func (p *program) onMachine(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(p.dir, name)
	}
	if name = path.Clean(name); name == lofn.AppDir || strings.HasPrefix(name, lofn.AppDir+"/") {
		return filepath.Join(p.image.Root, name)
	}
	return name
}

func (p *program) String() string { return fmt.Sprintf("%q", strings.Join(p.watchdog.Process, " ")) }
