#!/bin/bash
# Checksums of the request's body, all computed while it passes by once, so a
# file of any size needs no room on disk.
#
# Query:
#   algorithms=sha256,md5   any of md5 sha1 sha224 sha256 sha384 sha512 b2
#   format=text|json        text is what "sha256sum --check" reads
#   name=reads.fastq.gz     the name to put in the answer, "-" without one
#
# The answer has status 200 also when it says "error:", because a streaming
# function has answered before it can know.
set -euo pipefail

fail() {
  printf 'error: %s\n' "$1"
  exit 1
}

# parameter NAME DEFAULT prints the value of NAME in the query; the last one
# wins. Only characters that need no decoding can be in a valid value, and a
# comma, which some clients encode.
parameter() {
  local value=$2 pair pairs
  IFS='&' read -ra pairs <<<"${Http_Query:-}"
  for pair in "${pairs[@]}"; do
    [[ $pair == "$1="* ]] && value=${pair#*=}
  done
  value=${value//%2[Cc]/,}
  [[ $value =~ ^[A-Za-z0-9._,-]*$ ]] || fail "$1: only letters, digits and . _ - are allowed"
  printf '%s' "$value"
}

known_parameters_only() {
  local pair pairs
  IFS='&' read -ra pairs <<<"${Http_Query:-}"
  for pair in "${pairs[@]}"; do
    case ${pair%%=*} in
      algorithms | format | name | '') ;;
      *) fail "unknown parameter: use algorithms, format and name" ;;
    esac
  done
}

# checksums ALGORITHM... writes a file for each algorithm, and one called bytes,
# in $work.
checksums() {
  local algorithm pipes=() pids=()
  for algorithm; do
    mkfifo "$work/$algorithm.pipe"
    pipes+=("$work/$algorithm.pipe")
    "${algorithm}sum" <"$work/$algorithm.pipe" >"$work/$algorithm" &
    pids+=($!)
  done
  tee "${pipes[@]}" | wc -c >"$work/bytes"
  wait "${pids[@]}"
}

# sum ALGORITHM prints the hexadecimal digits alone.
sum() {
  local digits rest
  read -r digits rest <"$work/$1"
  printf '%s' "$digits"
}

as_text() {
  local algorithm tag
  for algorithm; do
    tag=${algorithm^^}
    [[ $algorithm == b2 ]] && tag=BLAKE2b
    printf '%s (%s) = %s\n' "$tag" "$name" "$(sum "$algorithm")"
  done
  printf '# bytes: %d\n' "$bytes"
}

as_json() {
  local algorithm
  printf '{"name": "%s", "bytes": %d' "$name" "$bytes"
  for algorithm; do
    printf ', "%s": "%s"' "$algorithm" "$(sum "$algorithm")"
  done
  printf '}\n'
}

known_parameters_only
format=$(parameter format text) || fail "${format#error: }"
name=$(parameter name -) || fail "${name#error: }"
wanted=$(parameter algorithms sha256,md5) || fail "${wanted#error: }"
[[ $format == text || $format == json ]] || fail "format: use text or json"
[[ -n $name && $name != *,* ]] || fail "name: only letters, digits and . _ - are allowed"

IFS=',' read -ra asked <<<"$wanted"
algorithms=()
for algorithm in "${asked[@]}"; do
  case $algorithm in
    md5 | sha1 | sha224 | sha256 | sha384 | sha512 | b2) ;;
    *) fail "algorithms: \"$algorithm\" is unknown, use md5, sha1, sha224, sha256, sha384, sha512 or b2" ;;
  esac
  # Asking twice is answered once.
  [[ " ${algorithms[*]} " == *" $algorithm "* ]] || algorithms+=("$algorithm")
done
((${#algorithms[@]} > 0)) || fail "algorithms: name at least one"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checksums "${algorithms[@]}"
bytes=$(<"$work/bytes")
"as_$format" "${algorithms[@]}"
