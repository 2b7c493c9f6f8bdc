#!/bin/bash
# Run from anywhere: bash test.sh. Prints what failed, and ends with status 1
# if anything did.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# call QUERY runs the function on stdin, with its own folder for temporary
# files, which must be empty afterwards.
call() {
  mkdir -p "$work/tmp"
  TMPDIR=$work/tmp Http_Query=$1 bash ./handler.sh
  local status=$?
  [[ -z $(ls -A "$work/tmp") ]] || echo "left behind: $(ls -A "$work/tmp")"
  return $status
}

# same NAME WANT GOT
same() {
  if [[ $2 == "$3" ]]; then
    printf 'ok      %s\n' "$1"
  else
    printf 'FAILED  %s\n  want: %s\n  got:  %s\n' "$1" "$2" "$3"
    failed=1
  fi
}

sha256_abc=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
md5_abc=900150983cd24fb0d6963f7d28e17f72

same "text by default" "SHA256 (-) = $sha256_abc
MD5 (-) = $md5_abc
# bytes: 3" "$(printf abc | call '')"

same "json" "{\"name\": \"abc.txt\", \"bytes\": 3, \"md5\": \"$md5_abc\"}" \
  "$(printf abc | call 'format=json&algorithms=md5&name=abc.txt')"

same "empty body" "MD5 (-) = d41d8cd98f00b204e9800998ecf8427e
# bytes: 0" "$(call 'algorithms=md5' </dev/null)"

same "an encoded comma, and a repeated name" "MD5 (-) = $md5_abc
SHA256 (-) = $sha256_abc
# bytes: 3" "$(printf abc | call 'algorithms=md5%2Csha256%2cmd5')"

# The other implementation is the machine's own, on a body larger than any pipe.
head -c 5000001 /dev/urandom >"$work/random.bin"
for algorithm in md5 sha1 sha224 sha256 sha384 sha512 b2; do
  read -r want _ < <("${algorithm}sum" "$work/random.bin")
  got=$(call "format=json&algorithms=$algorithm" <"$work/random.bin")
  same "$algorithm of 5 MB" "{\"name\": \"-\", \"bytes\": 5000001, \"$algorithm\": \"$want\"}" "$got"
done

call 'name=random.bin&algorithms=sha256' <"$work/random.bin" >"$work/sums"
same "sha256sum --check reads the answer" "random.bin: OK" "$(cd "$work" && sha256sum --check sums 2>&1)"

refused() {
  local got status
  got=$(printf abc | call "$1")
  status=$?
  same "refused with status 1: $1" "1 error: $2" "$status $got"
}
refused 'algorithms=crc' 'algorithms: "crc" is unknown, use md5, sha1, sha224, sha256, sha384, sha512 or b2'
refused 'algorithms=' 'algorithms: name at least one'
refused 'algorithms=$(id)' 'algorithms: only letters, digits and . _ - are allowed'
refused 'algorithms=../../bin/sha256' 'algorithms: only letters, digits and . _ - are allowed'
refused 'name=a"b' 'name: only letters, digits and . _ - are allowed'
refused 'name=a%0Ab' 'name: only letters, digits and . _ - are allowed'
refused 'name=' 'name: only letters, digits and . _ - are allowed'
refused 'format=xml' 'format: use text or json'
refused 'algorithm=md5' 'unknown parameter: use algorithms, format and name'

exit $failed
