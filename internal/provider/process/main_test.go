//go:build linux

package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lofn"
	"lofn/internal/provider/process"
)

// The test binary is also the function that tests deploy, and the platform
// that they kill: see behave and platform.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("act") != "":
		behave(os.Getenv("act"))
	case os.Getenv("LOFN_TEST_PLATFORM") != "":
		os.Exit(platform())
	default:
		// An ordinary user tests with isolation too, unless told otherwise.
		if os.Getenv("LOFN_TEST_PLAIN") == "" {
			if status, started := process.Isolate(); started {
				os.Exit(status)
			}
		}
		if os.Getenv("LOFN_TEST_BLIND") != "" {
			blind()
		}
		os.Exit(m.Run())
	}
}

// behave is a function in mode http that behaves as the variable act says.
func behave(act string) {
	switch act {
	case "exit":
		fmt.Fprintln(os.Stderr, "first line")
		fmt.Fprintln(os.Stderr, "fatal: no luck today")
		os.Exit(3)
	case "silent":
		time.Sleep(time.Hour)
	case "eat":
		fmt.Println(eat())
		os.Exit(0)
	case "loud":
		fmt.Println(strings.Repeat("x", 3_000_000))
		fmt.Fprintln(os.Stderr, "the end")
	case "port":
		serve("tcp", "127.0.0.1:"+os.Getenv(lofn.EnvPort))
	case "late", "renamed":
		serveLate(act, os.Getenv(lofn.EnvSocket))
	case "stubborn":
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	}
	serve("unix", os.Getenv(lofn.EnvSocket))
}

// blind takes from this user namespace what the kernel would tell it by.
func blind() {
	if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("0"), 0); err != nil {
		fmt.Fprintln(os.Stderr, "skipped, for there is no user namespace to do it in:", err)
		os.Exit(0)
	}
	if _, err := unix.InotifyInit1(unix.IN_CLOEXEC); err == nil {
		fmt.Fprintln(os.Stderr, "there still is inotify")
		os.Exit(1)
	}
}

// serveLate has its socket there long before it listens, or under another name
// first.
func serveLate(act, path string) {
	name := path
	if act == "renamed" {
		name += ".new"
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: name})
	}
	if act == "late" {
		time.Sleep(50 * time.Millisecond) // what is tested is a program that does
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err == nil && name != path {
		err = os.Rename(name, path)
	}
	listener, failed := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err = errors.Join(err, failed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	serveOn(listener)
}

func serve(network, address string) {
	listener, err := net.Listen(network, address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	serveOn(listener)
}

func serveOn(listener net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, os.Getenv("answer")) })
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Join(os.Environ(), "\n")) })
	// /run executes the body as a shell script, in the function's view.
	mux.HandleFunc("/run", func(w http.ResponseWriter, r *http.Request) {
		script, _ := io.ReadAll(r.Body)
		out, err := exec.Command("/bin/sh", "-c", string(script)).CombinedOutput()
		w.Write(out)
		if err != nil {
			fmt.Fprintln(w, err)
		}
	})
	mux.HandleFunc("/eat", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, eat()) })
	server := &http.Server{Handler: mux}
	if os.Getenv("act") != "stubborn" {
		stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer cancel()
		go func() {
			<-stop.Done()
			server.Shutdown(context.Background())
			os.Exit(0)
		}()
	}
	server.Serve(listener)
	select {}
}

// eat uses a gigabyte of memory.
func eat() int {
	var hoard [][]byte
	for range 1024 {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = byte(i)
		}
		hoard = append(hoard, b)
	}
	return len(hoard)
}
