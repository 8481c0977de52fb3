#!/usr/bin/env bash
# each.sh COMMAND... runs the command in the directory of every module, and fails if it failed in one.
# The module in tools/ has no code of ours.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=()
while IFS= read -r mod; do
  dir=$(dirname "$mod")
  echo "== $dir: $*"
  (cd "$dir" && "$@") </dev/null || failed+=("$dir")
done < <(find . -name go.mod -not -path '*/node_modules/*' -not -path './tools/*' | sort)

[ ${#failed[@]} -eq 0 ] || { echo "failed in: ${failed[*]}" >&2; exit 1; }
