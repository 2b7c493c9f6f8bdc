#!/bin/bash
# Starts a platform of its own in a throw-away folder, builds and deploys the
# four examples, and calls each with its data: one of them asynchronously too,
# and kills the platform before the answer. Run it with: make demo
#
# On a terminal it serves on until Ctrl-C; otherwise it ends. It leaves nothing
# behind, and ends with a status other than 0 if any step failed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
lofn=${LOFN:-$here/../bin/lofn}
server=

bold() { if [[ -t 1 ]]; then printf '\033[1m%s\033[0m\n' "$1"; else printf '%s\n' "$1"; fi; }
heading() {
  echo
  bold "── $1"
}
indent() { sed 's/^/    /'; }
die() {
  echo "demo: $1" >&2
  exit 1
}

clean_up() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  if [[ -n $server ]] && kill -TERM "$server" 2>/dev/null; then
    local patience
    for ((patience = 350; patience > 0; patience--)); do
      kill -0 "$server" 2>/dev/null || break
      sleep 0.1
    done
    if kill -KILL "$server" 2>/dev/null; then
      echo "demo: lofn serve did not stop by itself within 35 s" >&2
      status=1
    fi
    wait "$server" 2>/dev/null || true
  fi
  if ((status != 0)) && [[ -s $work/serve.log ]]; then
    echo "demo: the last lines of lofn serve:" >&2
    tail -n 30 "$work/serve.log" >&2
  fi
  rm -rf "$work"
  exit $status
}

# need PROGRAM PACKAGE: what the functions' languages need.
need() {
  command -v "$1" >/dev/null && return
  if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    echo "installing $2 with apt-get"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null; } ||
      die "apt-get could not install $2"
    return
  fi
  die "$1 is missing: install it first, on Debian with apt install $2"
}

# free_port prints a port of 127.0.0.1 that nobody answers on.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 10000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  die "found no free port"
}

seconds_since() { awk -v a="$1" -v b="$(date +%s%N)" 'BEGIN {printf "%.3f s", (b - a) / 1e9}'; }

# try FUNCTION FILE QUERY EXPECTED calls a function and shows what went in, what
# came out and how long it took. The answer must have EXPECTED in it.
try() {
  local function=$1 file=$2 query=$3 expected=$4 start took
  local args=(invoke "$function")
  for pair in $query; do args+=(--query "$pair"); done
  heading "$function < data/$file"
  if [[ $file == *.gz ]]; then
    echo "    ($(wc -c <"data/$file") bytes, gzip)"
  else
    head -n 3 "data/$file" | cut -c 1-100 | indent
    echo "    … ($(wc -l <"data/$file") lines)"
  fi
  start=$(date +%s%N)
  if ! "$lofn" "${args[@]}" <"data/$file" >"$work/answer"; then
    indent <"$work/answer"
    die "calling $function failed"
  fi
  took=$(seconds_since "$start")
  bold "answered in $took"
  indent <"$work/answer"
  grep -qF -- "$expected" "$work/answer" || die "the answer of $function lacks: $expected"
}

# try_later FUNCTION FILE QUERY EXPECTED does the same without waiting for the
# answer: it kills the platform once the call is accepted, starts it again, and
# then asks for the result.
try_later() {
  local function=$1 file=$2 query=$3 expected=$4 id
  heading "$function < data/$file, asynchronously"
  id=$("$lofn" invoke "$function" --async --query "$query" <"data/$file" 2>/dev/null) || die "submitting to $function failed"
  echo "    accepted as $id"
  echo "    kill -9 $server, and lofn serve again"
  kill -KILL "$server"
  wait "$server" 2>/dev/null || true
  serve
  "$lofn" queue result --wait "$id" >"$work/answer" || die "the call came to nothing"
  "$lofn" queue show "$id" | indent
  grep -qF -- "$expected" "$work/answer" || die "the answer of $function lacks: $expected"
}

# serve starts the platform, and returns when it answers.
serve() {
  start=$(date +%s%N)
  "$lofn" serve >>"$work/serve.log" 2>&1 &
  server=$!
  until "$lofn" ready --attempts 1 >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || die "lofn serve ended"
    (($(date +%s%N) - start < 30000000000)) || die "lofn serve does not answer on $OPENFAAS_URL"
    sleep 0.05
  done
  echo "    serves $OPENFAAS_URL after $(seconds_since "$start")"
}

command -v go >/dev/null || die "Go is missing, see https://go.dev/dl"
[[ -x $lofn ]] || die "$lofn is missing: run make build"
need python3 python3
need node nodejs

work=$(mktemp -d "${TMPDIR:-/tmp}/lofn-demo.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Nothing of the user's own settings is read or written, except for Go's cache,
# without which the standard library would have to be compiled again.
GOCACHE=$(go env GOCACHE)
# With this flag make build compiled that library, and so it is found there.
GOFLAGS="$(go env GOFLAGS) -trimpath"
export GOCACHE GOFLAGS
export OPENFAAS_CONFIG=$work/config XDG_CONFIG_HOME=$work/config XDG_STATE_HOME=$work/state XDG_CACHE_HOME=$work/cache XDG_DATA_HOME=$work/data
unset OPENFAAS_PREFIX OPENFAAS_TEMPLATE_URL OPENFAAS_TEMPLATE_STORE_URL LOFN_PROVIDER LOFN_NO_AUTH
port=$(free_port)
metrics_port=$(free_port)
while [[ $metrics_port == "$port" ]]; do metrics_port=$(free_port); done
export LOFN_LISTEN=127.0.0.1:$port LOFN_METRICS_LISTEN=127.0.0.1:$metrics_port LOFN_DATA=$work/lofn
export OPENFAAS_URL=http://127.0.0.1:$port

heading "lofn serve (data in $LOFN_DATA)"
serve

heading "lofn login"
"$lofn" login --username admin --password-stdin <"$LOFN_DATA/secrets/basic-auth-password" 2>&1 | indent || die "lofn login failed"

# A copy, so that nothing is built in the source tree.
cp -R "$here" "$work/examples"
cd "$work/examples"

heading "lofn up -f stack.yml: build, push and deploy four functions"
start=$(date +%s%N)
"$lofn" up -f stack.yml --parallel 2 2>&1 | indent || die "lofn up failed"
echo "    all four are ready after $(seconds_since "$start")"

try fastq-stats reads.fastq "format=text" "reads                               400"
try fastq-stats reads.fastq.gz "format=json" '"reads": 400'
try pii-scan letter.txt "format=text" "15 found"
try tsv-profile samples.tsv "format=text" 'the same sample_id "S011"'
try checksums reads.fastq.gz "name=reads.fastq.gz" "SHA256 (reads.fastq.gz) = $(sha256sum data/reads.fastq.gz | cut -d ' ' -f 1)"
try_later checksums reads.fastq.gz "name=reads.fastq.gz" "SHA256 (reads.fastq.gz) = $(sha256sum data/reads.fastq.gz | cut -d ' ' -f 1)"

heading "lofn list"
"$lofn" list | indent

if [[ -t 0 && -t 1 ]]; then
  heading "serving until Ctrl-C"
  cat <<END
    $OPENFAAS_URL
    user      $(cat "$LOFN_DATA/secrets/basic-auth-user")
    password  $(cat "$LOFN_DATA/secrets/basic-auth-password")

    curl --data-binary @examples/data/letter.txt '$OPENFAAS_URL/function/pii-scan?format=text'
END
  trap 'echo; exit 0' INT
  wait "$server" || die "lofn serve ended"
fi
heading "done"
