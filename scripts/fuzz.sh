#!/usr/bin/env bash
# fuzz.sh TIME runs each fuzz target of the root module for that long.
set -euo pipefail
cd "$(dirname "$0")/.."

# go test -list prints a package's targets, then "ok package".
targets=$(go test -list '^Fuzz' ./... | awk '
  /^Fuzz/ { names[n++] = $1 }
  /^ok/   { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }')
[ -n "$targets" ] || { echo "fuzz: found no target" >&2; exit 1; }

while read -r package name; do
  echo "== $package $name"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$1" "$package" </dev/null
done <<<"$targets"
