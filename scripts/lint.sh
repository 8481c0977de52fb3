#!/usr/bin/env bash
# Runs gofmt, vet and staticcheck on every module, and checks that the library builds for other systems.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
# check TITLE COMMAND... continues after a failure, so one run reports all faults.
check() {
  echo "== $1"
  "${@:2}" || { status=1; echo "lint: $1 failed" >&2; }
}

formatted() {
  local files
  files=$(find . -name '*.go' -not -path '*/node_modules/*' -print0 | xargs -0 gofmt -l)
  [ -z "$files" ] || { printf 'not formatted:\n%s\n' "$files" >&2; return 1; }
}

other_systems() {
  local system failed=0
  for system in darwin/amd64 darwin/arm64 windows/amd64 linux/arm64 linux/386; do
    echo "$system"
    GOOS=${system%/*} GOARCH=${system#*/} CGO_ENABLED=0 bash -c 'go build ./... && go vet ./...' || failed=1
  done
  return $failed
}

check gofmt formatted
check vet scripts/each.sh go vet ./...
check "vet with faults" go vet -tags hailfault,soak ./internal/... ./test/soak ./test/hostile
check staticcheck scripts/each.sh go tool -modfile="$PWD/tools/go.mod" staticcheck ./...
check dependencies scripts/dependencies.sh
check "other systems" other_systems
exit $status
