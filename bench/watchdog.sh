#!/usr/bin/env bash
# fwatchdog beside the watchdogs of OpenFaaS: in mode http against of-watchdog,
# with the same function behind both; and with a process of cat for each call
# against classic-watchdog. All of them in turn, several rounds; prints medians
# and ratios as a table in Markdown.
#
#   LOFN_PEER_OF_WATCHDOG=/path/of-watchdog LOFN_PEER_CLASSIC_WATCHDOG=/path/classic-watchdog \
#       bench/watchdog.sh [SECONDS] [ROUNDS]
#
# Needs Go, wrk and curl. A peer without a variable is left out. The peers always
# take port 8081.
set -euo pipefail
seconds=${1:-3} rounds=${2:-5}
of=${LOFN_PEER_OF_WATCHDOG:-} classic=${LOFN_PEER_CLASSIC_WATCHDOG:-}
if [ -z "$of$classic" ]; then
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
cd "$(dirname "$0")/.."
work=$(mktemp -d)
dog=
trap '[ -z "$dog" ] || kill "$dog"; rm -rf "$work"' EXIT
url=http://127.0.0.1:18091/

CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/fwatchdog" ./cmd/fwatchdog
mkdir "$work/function" "$work/paced"
cat >"$work/function/main.go" <<'GO'
package main

import (
	"io"
	"net/http"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	panic(http.ListenAndServe("127.0.0.1:18092", nil))
}
GO
# One call after the other with a pause between them, on one connection; prints
# the median in microseconds.
cat >"$work/paced/main.go" <<'GO'
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"
)

// plain is a socket without the runtime's poller between.
type plain int

func (s plain) Read(b []byte) (int, error) {
	n, err := syscall.Read(int(s), b)
	if n <= 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

func main() {
	address, err := net.ResolveTCPAddr("tcp", os.Args[1])
	must(err)
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Connect(socket, &syscall.SockaddrInet4{Port: address.Port, Addr: [4]byte(address.IP.To4())}))
	request := []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
	answers := bufio.NewReader(plain(socket))
	var took []time.Duration
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
		started := time.Now()
		_, err := syscall.Write(socket, request)
		must(err)
		r, err := http.ReadResponse(answers, nil)
		must(err)
		body, err := io.ReadAll(r.Body)
		must(err)
		took = append(took, time.Since(started))
		if r.StatusCode != http.StatusOK || string(body) != "hello" {
			must(fmt.Errorf("%s %q", r.Status, body))
		}
	}
	slices.Sort(took)
	fmt.Println(took[len(took)/2].Microseconds())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
GO
go build -o "$work/http-function" "$work/function/main.go"
go build -o "$work/paced-calls" "$work/paced/main.go"
printf 'wrk.method = "POST"\nwrk.body = "hello"\n' >"$work/post.lua"

# start PROGRAM VARIABLE... has the watchdog listen.
start() {
	local program=$1
	shift
	env -i PATH="$PATH" TMPDIR="$work" port=18091 listen_host=127.0.0.1 metrics_port=0 healthcheck_interval=1ms "$@" \
		"$program" >"$work/log" 2>&1 &
	dog=$!
	local tries=0
	until curl -sf -o /dev/null "$url"; do
		kill -0 "$dog" && [ $((tries += 1)) -lt 200 ] || { cat "$work/log" >&2; exit 1; }
		sleep 0.05
	done
}
stop() {
	kill "$dog"
	wait "$dog" || true
	dog=
}

# load CONNECTIONS [OPTION...] prints calls per second, and fails if one failed.
load() {
	local connections=$1
	shift
	wrk -t2 -c"$connections" -d"${seconds}s" "$@" "$url" |
		awk '/Non-2xx|Socket errors/ { print > "/dev/stderr"; bad = 1 } /^Requests\/sec/ { print $2 } END { exit bad }'
}

http_round() { # NAME PROGRAM
	start "$2" mode=http fprocess="$work/http-function" upstream_url=http://127.0.0.1:18092
	load 32 >>"$work/$1.rate"
	stop
	until ! curl -s -o /dev/null http://127.0.0.1:18092/; do sleep 0.05; done
}

fork_round() { # NAME PROGRAM VARIABLE...
	local name=$1
	shift
	start "$@" fprocess=cat
	load 8 -s "$work/post.lua" >>"$work/$name.rate"
	"$work/paced-calls" 127.0.0.1:18091 >>"$work/$name.p50"
	stop
}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# ratio A B
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
modes="streaming serializing classic"

for _ in $(seq "$rounds"); do
	if [ -n "$of" ]; then
		http_round http "$work/fwatchdog"
		http_round http-peer "$of"
	fi
	if [ -n "$classic" ]; then
		fork_round fork-peer "$classic"
		for mode in $modes; do
			fork_round "$mode" "$work/fwatchdog" mode="$mode"
			fork_round "$mode-ahead" "$work/fwatchdog" mode="$mode" prestart=16
		done
	fi
done

if [ -n "$of" ]; then
	peer=$(median "$work/http-peer.rate")
	rate=$(median "$work/http.rate")
	echo "| mode http | calls/s, 32 connections | ratio |"
	echo "|---|---|---|"
	echo "| of-watchdog | $peer | |"
	echo "| fwatchdog | $rate | $(ratio "$rate" "$peer") |"
	echo
fi
if [ -n "$classic" ]; then
	peer=$(median "$work/fork-peer.rate") peer50=$(median "$work/fork-peer.p50")
	echo "| a process of cat for each call | calls/s, 8 connections | ratio | p50, paced calls (µs) | ratio |"
	echo "|---|---|---|---|---|"
	echo "| classic-watchdog | $peer | | $peer50 | |"
	for mode in $modes; do
		for kind in "" -ahead; do
			rate=$(median "$work/$mode$kind.rate") p50=$(median "$work/$mode$kind.p50")
			echo "| fwatchdog, $mode${kind:+, prestart=16} | $rate | $(ratio "$rate" "$peer") | $p50 | $(ratio "$p50" "$peer50") |"
		done
	done
fi
