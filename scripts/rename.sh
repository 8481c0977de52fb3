#!/usr/bin/env bash
# rename.sh MODULE changes the module path everywhere: go.mod files, imports, docs, scripts.
set -euo pipefail
cd "$(dirname "$0")/.."

new=${1:-}
if ! [[ $new =~ ^[A-Za-z0-9][A-Za-z0-9._~/-]*[A-Za-z0-9]$ ]]; then
  echo "usage: make rename MODULE=github.com/you/hail" >&2
  exit 2
fi
if [[ $new =~ /v[0-9]+$ ]]; then
  echo "rename: $new asks for the tags of that major version; take the path without it" >&2
  exit 2
fi
old=$(go list -m)
pattern=${old//./\\.}

# The path ends where no letter, digit, - or _ follows.
grep -rlIF --exclude-dir=.git --exclude-dir=node_modules --exclude-dir=artifacts -- "$old" . |
  while IFS= read -r file; do
    sed -E -i.renamed "s#$pattern([^A-Za-z0-9_-]|\$)#$new\\1#g" "$file"
    rm "$file.renamed"
  done

# Imports and requirements are sorted by path.
find . -name '*.go' -not -path '*/node_modules/*' -print0 | xargs -0 gofmt -w
find . -name go.mod -not -path '*/node_modules/*' -exec go mod edit -fmt {} \;
echo "renamed $old to $new"
