#!/usr/bin/env bash
# Runs the demo until it only serves, then walks a browser through its page. Wants DATABASE_URL.
# --images FOLDER also writes the pictures of the README there.
set -euo pipefail
programs=${1:?usage: run.sh PROGRAMS MODULES [--images FOLDER]} modules=${2:?} ; shift 2
here=$(cd "$(dirname "$0")" && pwd)
workspace=$(mktemp -d)
log=$workspace/demo.log
"$programs/driftline" demo --serve --workspace "$workspace/demo" > "$log" 2>&1 &
demo=$!
stop() {
  kill -INT "$demo" 2> /dev/null || true
  wait "$demo" 2> /dev/null || true
  rm -rf "$workspace"
}
trap stop EXIT
for _ in $(seq 600); do
  grep -q 'everything is left running' "$log" && break
  kill -0 "$demo" 2> /dev/null || { cat "$log"; exit 1; }
  sleep 0.5
done
admin=$(sed -n 's/.*everything is left running: \(.*\) and \(http[^ ;]*\).*/\2/p' "$log")
[[ -n $admin ]] || { cat "$log"; echo "the demo did not come to its end within five minutes"; exit 1; }
NODE_PATH=$modules/node_modules node "$here/walk.js" "$admin" "$@"
