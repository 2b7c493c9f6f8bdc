// Answer is a function for tests, with no watchdog in front of it. It listens
// on port 8080, or as a process on the socket that it is given, has the
// watchdog's health path, and does what paths say:
//
//	/env/NAME    the variable
//	/file/PATH   the content of a file, or why it cannot be had
//	/write/PATH  writes the request's body into a file
//	/run         what the kernel says of the process, from /proc/self/status
//	/get?URL     what a GET of the URL is answered
//	/print       writes the request's body to standard output
//	/memory/MiB  uses so much memory
//	/exit/CODE   ends the process
//	/slow/TIME   answers after a time
//
// Any other is answered with the variable ANSWER. LISTEN is where it listens
// instead, HEALTH the status of its health, EXIT a status to end with at once.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if code := os.Getenv("EXIT"); code != "" {
		fmt.Fprintln(os.Stderr, "error: told to end")
		n, _ := strconv.Atoi(code)
		os.Exit(n)
	}
	fmt.Println("starting as", os.Getuid())
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, os.Getenv("ANSWER"))
	})
	http.HandleFunc("/_/health", func(w http.ResponseWriter, _ *http.Request) {
		if status, err := strconv.Atoi(os.Getenv("HEALTH")); err == nil {
			w.WriteHeader(status)
		}
	})
	http.HandleFunc("/env/{name}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv(r.PathValue("name"))) })
	http.HandleFunc("/file/{path...}", func(w http.ResponseWriter, r *http.Request) { show(w, "/"+r.PathValue("path")) })
	http.HandleFunc("/run", func(w http.ResponseWriter, _ *http.Request) { show(w, "/proc/self/status") })
	http.HandleFunc("/write/{path...}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := os.WriteFile("/"+r.PathValue("path"), body, 0o644); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	http.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) {
		answer, err := http.Get(r.URL.RawQuery)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	})
	http.HandleFunc("/print", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(os.Stdout, r.Body) })
	http.HandleFunc("/memory/{mib}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("mib"))
		b := make([]byte, n<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		fmt.Fprint(w, len(b))
	})
	http.HandleFunc("/exit/{code}", func(_ http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("code"))
		os.Exit(n)
	})
	http.HandleFunc("/slow/{time}", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.PathValue("time"))
		time.Sleep(d)
		fmt.Fprint(w, os.Getenv("ANSWER"))
	})
	server := &http.Server{Addr: cmp.Or(os.Getenv("LISTEN"), ":8080")}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-term
		// The listener closes; calls under way end.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = server.Shutdown(ctx)
	}()
	if err := listenAndServe(server); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	<-ended
}

func listenAndServe(server *http.Server) error {
	socket := os.Getenv("LOFN_SOCKET")
	if socket == "" {
		return server.ListenAndServe()
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return server.Serve(l)
}

func show(w http.ResponseWriter, path string) {
	content, err := os.ReadFile(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	_, _ = w.Write(content)
}
