//go:build linux

package process_test

import (
	"context"
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
	case "stubborn":
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	}
	serve("unix", os.Getenv(lofn.EnvSocket))
}

func serve(network, address string) {
	listener, err := net.Listen(network, address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
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
