#!/usr/bin/env bash
# Checks that docs/dependencies.md lists the requirements of the go.mod and package.json files, and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$(go list -m)

# Each prints lines of a directory and a module.
listed() {
  awk '/^## / { dir = $2 } /^\| `/ { gsub(/`/, "", $2); print dir, $2 }' docs/dependencies.md
}

required() {
  find . \( -name go.mod -o -name package.json \) -not -path '*/node_modules/*' | while IFS= read -r file; do
    dir=$(dirname "$file")
    [ "$dir" = . ] || dir=${dir#./}
    if [ "${file##*/}" = go.mod ]; then
      # The direct requirements of a block; a tool has its package's path.
      awk -v dir="$dir" -v own="$module" '
        /^(require|tool) \(/ { inside = 1; next }
        /^\)/ { inside = 0 }
        /\/\/ indirect/ { next }
        /^(require|tool) / { $1 = ""; $0 = $0 }
        (inside || /^ /) && NF && $1 != "//" && $1 != own && index($1, own "/") != 1 { print dir, $1 }' "$file"
    else
      awk -v dir="$dir" '
        /"(dev|optional|peer)?[dD]ependencies": *\{/ { inside = 1; next }
        /\}/ { inside = 0 }
        inside { split($1, part, "\""); print dir, part[2] }' "$file"
    fi
  done
}

if ! difference=$(diff <(listed | sort) <(required | sort)); then
  printf 'docs/dependencies.md (<) and the requirements (>) differ:\n%s\n' "$difference" >&2
  exit 1
fi
