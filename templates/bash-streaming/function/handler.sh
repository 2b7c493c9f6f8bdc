#!/bin/bash

# The request's body is on stdin; what is written to stdout is the answer.
while IFS= read -r line || [[ -n $line ]]; do
  printf '%s\n' "$line"
done
