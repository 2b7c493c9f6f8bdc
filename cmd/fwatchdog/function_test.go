package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// function is a function that speaks HTTP. The path says what it does.
func function() int {
	network, address := "tcp", os.Getenv("function_address")
	if os.Getenv("function_on_port") != "" {
		address = "127.0.0.1:" + os.Getenv("PORT")
	} else if socket := os.Getenv("LOFN_SOCKET"); socket != "" {
		network, address = "unix", socket
	}
	if pause, err := time.ParseDuration(os.Getenv("function_pause")); err == nil {
		time.Sleep(pause)
	}
	if os.Getenv("function_deaf") != "" {
		select {}
	}
	l, err := net.Listen(network, address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	server := &http.Server{Handler: http.HandlerFunc(act)}
	go func() { _ = server.Serve(l) }()
	fmt.Println("the function listens")
	<-signals
	fmt.Println("the function was asked to end")
	if os.Getenv("function_stubborn") != "" {
		select {}
	}
	_ = server.Shutdown(context.Background())
	return 0
}

func act(w http.ResponseWriter, r *http.Request) {
	flush := func() { _ = http.NewResponseController(w).Flush() }
	what, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch what {
	case "dump":
		dump(w, r)
	case "status":
		status, _ := strconv.Atoi(rest)
		w.Header()["X-Mine"] = []string{"1", "2"}
		w.WriteHeader(status)
		fmt.Fprintf(w, "status %d", status)
	case "hang":
		_, _ = io.Copy(io.Discard, r.Body)
		_ = os.WriteFile(os.Getenv("TMPDIR")+"/hanging", nil, 0o600)
		<-r.Context().Done()
		_ = os.WriteFile(os.Getenv("TMPDIR")+"/stopped", nil, 0o600)
	case "part":
		_, _ = io.WriteString(w, "some")
		flush()
		<-r.Context().Done()
	case "until":
		_ = os.WriteFile(os.Getenv("TMPDIR")+"/hanging", nil, 0o600)
		for {
			if _, err := os.Stat(os.Getenv("TMPDIR") + "/release"); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		_, _ = io.WriteString(w, "done")
	case "events":
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			flush()
			time.Sleep(150 * time.Millisecond)
		}
	case "lines":
		for i := range 3 {
			fmt.Fprintln(w, i)
			flush()
		}
	case "trailer":
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		flush()
		w.Header().Set("X-Sum", "42")
	case "length":
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d bytes, Content-Length %d, encoding %v", n, r.ContentLength, r.TransferEncoding)
	case "zeros":
		size, _ := strconv.ParseInt(rest, 10, 64)
		w.Header().Set("Content-Length", rest)
		_, _ = io.CopyN(w, zeros{}, size)
	case "redirect":
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	case "hints":
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "hinted")
	case "log":
		size, _ := strconv.Atoi(rest)
		fmt.Println(strings.Repeat("x", size))
		fmt.Fprintln(os.Stderr, "after")
	case "websocket":
		echoLines(w)
	case "drop":
		panic(http.ErrAbortHandler)
	case "exit":
		status, _ := strconv.Atoi(rest)
		os.Exit(status)
	default:
		_, _ = io.WriteString(w, "ok")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// dump answers with the request as it came.
func dump(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s\nHost: %s\n", r.Method, r.RequestURI, r.Host)
	var lines []string
	for name, values := range r.Header {
		for _, v := range values {
			lines = append(lines, name+": "+v)
		}
	}
	slices.Sort(lines)
	fmt.Fprintf(w, "%s\n\n%s", strings.Join(lines, "\n"), body)
}

// echoLines speaks a protocol of its own after the upgrade.
func echoLines(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	lines := bufio.NewScanner(buffered)
	for lines.Scan() {
		if _, err := fmt.Fprintf(conn, "echo %s\n", lines.Text()); err != nil {
			return
		}
	}
}
