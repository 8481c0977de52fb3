#!/usr/bin/env bash
# Builds the examples' servers and drives them with real clients: ws, a browser, WeChat's mini program.
# Installs missing programs.
set -euo pipefail
cd "$(dirname "$0")/../test/e2e"

install_chromium() {
  command -v apt-get >/dev/null || return
  echo "e2e: no Chromium found; installing it with apt-get"
  local sudo=
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  $sudo apt-get -o Acquire::Retries=3 update -q >/dev/null &&
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -y -q --no-install-recommends chromium fonts-dejavu-core fonts-wqy-microhei >/dev/null
}

# find_chromium sets CHROMIUM to a browser the tests can drive.
find_chromium() {
  [ -z "${CHROMIUM:-}" ] || return 0
  CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
}

node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || a == 20 && b >= 19 ? 0 : 1)' 2>/dev/null || {
  echo "e2e: needs Node 20.19 or later" >&2
  exit 1
}
find_chromium || { install_chromium && find_chromium; } || {
  echo "e2e: no Chromium and no way to install it; install one, or name one in \$CHROMIUM" >&2
  exit 1
}
export CHROMIUM

# npm ci starts from scratch each time: only when the lock file has changed.
if ! cmp -s package-lock.json node_modules/.installed; then
  npm ci --loglevel=error >/dev/null
  chmod +x node_modules/miniprogram-compiler/bin/*/wcc* # its package lacks the mode
  cp package-lock.json node_modules/.installed
fi

mkdir -p artifacts
(cd ../.. && go build ${RACE:-} -o test/e2e/artifacts/ ./examples/greeter ./examples/chat &&
  go build ${RACE:-} -o test/e2e/artifacts/wechat-server ./examples/wechat/server)

# By default Node leaves one processor to itself, which on two means one file at a time.
# Each test has a time limit of its own; --test-timeout ends a file that hangs nevertheless.
exec node --test --test-concurrency="$(node -p 'os.availableParallelism()')" --test-timeout=240000 --test-force-exit --test-reporter=spec
