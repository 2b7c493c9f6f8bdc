package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lofn"
)

// bareProgram is what a replica runs, to be run without the platform.
type bareProgram struct {
	path, dir string
	argv, env []string
	socket    string
}

// bareProgram looks at the process of a replica of the function.
func (p *platform) bareProgram(ctx context.Context, ref lofn.Ref) (b bareProgram, err error) {
	status, err := p.ready(ctx, ref, 1)
	if err != nil {
		return b, err
	}
	folder := filepath.Join(p.data, "images", strings.Replace(status.Digest, ":", "-", 1), "rootfs")
	b.dir, b.socket = filepath.Join(folder, lofn.AppDir), filepath.Join(p.dir, "bare.sock")
	pids, err := pidsOf(status.Instances[0].ID)
	if err != nil {
		return b, err
	}
	if len(pids) == 0 {
		return b, fmt.Errorf("no process of %s is to be found", status.Instances[0].ID)
	}
	proc := "/proc/" + strconv.Itoa(pids[0])
	if b.path, err = os.Readlink(proc + "/exe"); err != nil {
		return b, err
	}
	if strings.HasPrefix(b.path, lofn.AppDir+"/") {
		b.path = filepath.Join(folder, b.path)
	}
	if b.argv, err = zeroTerminated(proc + "/cmdline"); err != nil {
		return b, err
	}
	b.env, err = zeroTerminated(proc + "/environ")
	for i, pair := range b.env {
		if strings.HasPrefix(pair, lofn.EnvSocket+"=") {
			b.env[i] = lofn.EnvSocket + "=" + b.socket
		}
	}
	return b, err
}

func zeroTerminated(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), err
}

// start returns how long it took from executing the program until it listened,
// and ends it.
func (b bareProgram) start(ctx context.Context) (time.Duration, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	began := time.Now()
	process, err := os.StartProcess(b.path, b.argv, &os.ProcAttr{Dir: b.dir, Env: b.env, Files: []*os.File{null, null, null}})
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = process.Kill()
		_, _ = process.Wait()
		_ = os.Remove(b.socket)
	}()
	for {
		conn, err := net.Dial("unix", b.socket)
		took := time.Since(began)
		if err == nil {
			return took, conn.Close()
		}
		if took > time.Minute {
			return 0, fmt.Errorf("%s does not listen: %w", b.path, err)
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		// Often, but not so that it takes the processor from the program.
		nap(50 * time.Microsecond)
	}
}
