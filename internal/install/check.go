package install

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// leastData is what the data folder's disk must have left: enough to
	// start, and to notice that it is little.
	leastData = 256 << 20
	// leastProgram is what must be left beside the program.
	leastProgram = 16 << 20
)

// check returns everything that is in the way of an installation.
func (i *installation) check(ctx context.Context) (wrong []error) {
	program := i.under(i.Place.program())
	wrong = append(wrong, checkProgram(program), i.checkUnit(), i.checkSpace(program))
	for _, path := range []string{program, i.under(unitPath), i.under(settingsPath), i.under(filepath.Join(i.Service.Data, "x"))} {
		wrong = append(wrong, checkWritable(filepath.Dir(path)))
	}
	wrong = append(wrong, checkAddress("--listen", i.Service.Listen), checkAddress("--metrics-listen", i.Service.MetricsListen))
	if i.isMachine() && !i.was.runs() && errors.Join(wrong...) == nil {
		wrong = append(wrong, checkFree("--listen", i.Service.Listen), checkFree("--metrics-listen", i.Service.MetricsListen))
	}
	if i.isMachine() && i.Service.Containerd != "" {
		wrong = append(wrong, checkContainers(ctx, i.Service.Containerd)...)
	}
	return wrong
}

// checkProgram looks whether what is to be replaced or removed is a lofn.
func checkProgram(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		if build, err := buildinfo.ReadFile(path); err == nil && build.Main.Path == "lofn" {
			return nil
		}
	}
	return fmt.Errorf("%s is there and is not lofn: move it away, or choose another place with --prefix", path)
}

// checkUnit looks whether a unit that will be kept runs what is installed.
func (i *installation) checkUnit() error {
	text, err := os.ReadFile(i.under(unitPath))
	if errors.Is(err, fs.ErrNotExist) || err == nil && isUnedited(string(text)) {
		return nil
	}
	if err != nil {
		return err
	}
	if runs, program := programOf(string(text)), i.Place.program(); runs != program {
		return fmt.Errorf("%s is not as lofn install wrote it, and runs %q and not %s: rename that file and install again, or give the --prefix that it uses", i.under(unitPath), runs, program)
	}
	return nil
}

func (i *installation) checkSpace(program string) error {
	info, err := os.Stat(i.Program)
	if err != nil {
		return fmt.Errorf("the program that is to be installed: %w", err)
	}
	return errors.Join(
		checkSpace(filepath.Dir(program), uint64(info.Size())+leastProgram, "choose another place with --prefix, or make room"),
		checkSpace(i.under(i.Service.Data), leastData, "choose another folder with --data, or make room"),
	)
}

// checkAddress looks whether a service can be found at an address.
func checkAddress(flag, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s: %q is no address: use one such as 127.0.0.1:8080", flag, address)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return fmt.Errorf("%s: %q has no port that stays the same: use one such as 127.0.0.1:8080", flag, address)
	}
	return nil
}

// checkFree looks whether an address can be listened at.
func checkFree(flag, address string) error {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		return listener.Close()
	}
	cause := errors.Unwrap(err) // without what package net says of the address
	_, port, _ := net.SplitHostPort(address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s %s: %w: ss -ltnp 'sport = :%s' says by whom; stop that, or choose another address with %s", flag, address, cause, port, flag)
	}
	return fmt.Errorf("%s %s: %w: choose an address of this machine and a port, such as 127.0.0.1:8080", flag, address, cause)
}

// existing is the folder, or the nearest one above it that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}
