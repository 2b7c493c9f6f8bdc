#!/bin/bash
. ./lib.sh
while IFS= read -r line; do
  shout "$line"
done
