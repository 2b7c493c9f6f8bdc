package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inHTTPMode starts a watchdog and the function that speaks HTTP.
func inHTTPMode(t *testing.T, env ...string) *dog {
	t.Helper()
	d := start(t, peer{}, append([]string{"mode=http", "fprocess=" + os.Args[0], "upstream_url=http://$UPSTREAM"}, env...)...)
	d.waitLog(t, "the function listens")
	return d
}

// upgrade opens a connection that is no longer HTTP.
func (d *dog) upgrade(t *testing.T, header string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET /websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s\r\n", header)
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response, err)
	}
	return conn, r
}

func TestWebSocket(t *testing.T) {
	d := inHTTPMode(t, "exec_timeout=10ms", "read_timeout=10ms", "write_timeout=10ms")
	conn, r := d.upgrade(t, "")
	for i := range 5 {
		<-time.After(20 * time.Millisecond) // longer than each of the times
		fmt.Fprintf(conn, "%d\n", i)
		if line, err := r.ReadString('\n'); line != fmt.Sprintf("echo %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
	}
}

// A stream has a deadline if the function or the caller asks for one.
func TestDeadlinesOfStreams(t *testing.T) {
	d := inHTTPMode(t, "stream_timeout=100ms")
	_, r := d.upgrade(t, "")
	if _, err := r.ReadString('\n'); err != io.EOF {
		t.Errorf("stream_timeout: %v", err)
	}
	d = inHTTPMode(t)
	_, r = d.upgrade(t, "X-Timeout: 100ms\r\n")
	if _, err := r.ReadString('\n'); err != io.EOF {
		t.Errorf("X-Timeout: %v", err)
	}
	if a := do(t, request(t, "GET", d.url+"/hang", "", "Accept", "text/event-stream", "X-Timeout", "100ms")); a.StatusCode != 504 {
		t.Errorf("events that never come: %d", a.StatusCode)
	}
}

// A stream keeps the container open until the time for the drain is over.
func TestStreamsAtTheEnd(t *testing.T) {
	d := inHTTPMode(t, "write_timeout=100ms", "exec_timeout=100ms", "function_stubborn=1")
	_, r := d.upgrade(t, "")
	d.signal(t, syscall.SIGTERM)
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("the stream goes on")
	}
	if status := d.exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// The function learns that nobody waits any more, on both ways.
func TestTheClientLeaves(t *testing.T) {
	for _, header := range []string{"", "Proxy-Authorization: x\r\n"} {
		d := inHTTPMode(t)
		conn, err := net.Dial("tcp", d.address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /hang HTTP/1.1\r\nHost: x\r\n%s\r\n", header)
		d.waitFile(t, "hanging")
		conn.Close()
		d.waitFile(t, "stopped")
	}
}

// A function that is not told where to listen by its image is told by the
// watchdog, and takes the port or the socket.
func TestWithoutUpstreamURL(t *testing.T) {
	d := start(t, peer{}, "mode=http", "fprocess="+os.Args[0], "function_on_port=1")
	if got := get(t, d.url); got != "200 ok" {
		t.Errorf("by port: %q", got)
	}
	d = start(t, peer{}, "mode=http", "fprocess="+os.Args[0], "function_address=unused")
	if got := get(t, d.url); got != "200 ok" {
		t.Errorf("by socket: %q", got)
	}
	socket := func() []string {
		found, _ := filepath.Glob(filepath.Join(d.temp, ".fwatchdog-*"))
		return found
	}
	if len(socket()) != 1 {
		t.Errorf("folders of sockets: %v", socket())
	}
	d.signal(t, syscall.SIGTERM)
	d.exit(t)
	if len(socket()) != 0 {
		t.Errorf("left behind: %v", socket())
	}
}

// Lines of many processes do not mix, and none is lost, however long.
func TestLogLinesStayWhole(t *testing.T) {
	const processes, size = 8, 70_000
	d := start(t, peer{}, "prefix_logs=false", "mode=streaming", handler(t, `c=${Http_Path#/}; for i in 1 2 3; do head -c 35000 /dev/zero | tr '\0' $c >&2; sleep 0.01; head -c 35000 /dev/zero | tr '\0' $c >&2; echo >&2; done`))
	var answers []<-chan answer
	for i := range processes {
		answers = append(answers, d.call(t, "/"+string(rune('a'+i))))
	}
	for _, a := range answers {
		if got := <-a; got.StatusCode != 200 {
			t.Errorf("got %d %q", got.StatusCode, got.body)
		}
	}
	for i := range processes {
		line := "\n" + strings.Repeat(string(rune('a'+i)), size) + "\n"
		eventually(t, "three lines of "+string(rune('a'+i)), func() bool {
			// Each line's end is the beginning of another, so they may overlap.
			return strings.Count(strings.ReplaceAll(d.log.String(), "\n", "\n\n"), line) == 3
		})
	}
}

// One line of 20 MB does not wedge the function, nor lose the next line.
func TestHugeLogLine(t *testing.T) {
	d := inHTTPMode(t)
	if got := get(t, d.url+"/log/20000000"); got != "200 " {
		t.Errorf("got %q", got)
	}
	d.waitLog(t, "stderr: after\n")
	eventually(t, "the whole line", func() bool { return strings.Count(d.log.String(), "x") >= 20_000_000 })
	if got := get(t, d.url); got != "200 ok" {
		t.Errorf("got %q", got)
	}
}
