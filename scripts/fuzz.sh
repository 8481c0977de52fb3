#!/usr/bin/env bash
# fuzz.sh TIME runs each fuzz target of the root module for that long.
set -euo pipefail
cd "$(dirname "$0")/.."

# go test -list prints a package's targets, then "ok package".
targets=$(go test -list '^Fuzz' ./... | awk '
  /^Fuzz/ { names[n++] = $1 }
  /^ok/   { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }')
[ -n "$targets" ] || { echo "fuzz: found no target" >&2; exit 1; }

# Go before 1.27 may report the end of fuzztime as the target's failure (golang/go issue 75804). It has found no input then.
found_nothing() {
  grep -qx '    context deadline exceeded' "$1" && ! grep -Eq 'Failing input|panic:|DATA RACE' "$1"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
while read -r package name; do
  echo "== $package $name"
  if ! go test -run '^$' -fuzz "^$name\$" -fuzztime "$1" "$package" </dev/null 2>&1 | tee "$log"; then
    found_nothing "$log" || exit 1
    echo "fuzz: the time was up, and nothing was found"
  fi
done <<<"$targets"
