#!/usr/bin/env bash
# Calls per second in mode http through fwatchdog and through of-watchdog, in
# turn, with the same function behind both; then their ratio of medians.
#
#   LOFN_PEER_OF_WATCHDOG=/path/of-watchdog bench/watchdog.sh [CONNECTIONS] [SECONDS] [ROUNDS]
#
# Needs Go and wrk. of-watchdog always takes port 8081.
set -euo pipefail
connections=${1:-32} seconds=${2:-3} rounds=${3:-5}
peer=${LOFN_PEER_OF_WATCHDOG:?names the program to compare with}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/fwatchdog" ./cmd/fwatchdog
cat >"$work/function.go" <<'GO'
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
go build -o "$work/function" "$work/function.go"

# measure PROGRAM prints calls per second.
measure() {
	env -i PATH="$PATH" TMPDIR="$work" mode=http fprocess="$work/function" upstream_url=http://127.0.0.1:18092 \
		port=18091 listen_host=127.0.0.1 metrics_port=0 healthcheck_interval=1ms "$1" >"$work/log" 2>&1 &
	local pid=$!
	until curl -sf -o /dev/null http://127.0.0.1:18091/; do sleep 0.05; done
	wrk -t2 -c"$connections" -d"${seconds}s" http://127.0.0.1:18091/ | awk '/Non-2xx|Socket errors/ { bad = 1 } /^Requests\/sec/ { print $2 } END { exit bad }'
	kill "$pid"
	wait "$pid" || true
	until ! curl -s -o /dev/null http://127.0.0.1:18092/; do sleep 0.05; done
}

for _ in $(seq "$rounds"); do
	measure "$work/fwatchdog" >>"$work/ours"
	measure "$peer" >>"$work/theirs"
done
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ours=$(median "$work/ours") theirs=$(median "$work/theirs")
echo "fwatchdog:   $ours calls/s (median of: $(tr '\n' ' ' <"$work/ours"))"
echo "of-watchdog: $theirs calls/s (median of: $(tr '\n' ' ' <"$work/theirs"))"
awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "ratio: %.2f\n", a / b }'
