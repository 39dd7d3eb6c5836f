#!/usr/bin/env bash
# Makes the Python environment of the stack (MLServer with scikit-learn, a mail catcher, the checks of dashboards, images
# and Compose) in the cache, and takes Prometheus out of Debian's package. Prints the environment's Python, then Prometheus.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${DRIFTLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/driftline}/stack
mkdir -p "$cache"
say() { echo "stack: $*" >&2; }
python=$(command -v python3.11 || command -v python3.12 || command -v python3)
mark=$(cat "$here/requirements.txt" "$here/../../deploy/mlserver/requirements.txt" | sha256sum | cut -c1-16)
if [[ $(cat "$cache/complete" 2>/dev/null) != "$mark" ]]; then
  say "making the environment in $cache (some 600 MB)"
  rm -rf "$cache/environment"
  "$python" -m venv "$cache/environment"
  "$cache/environment/bin/pip" -q install --no-compile \
    -r "$here/../../deploy/mlserver/requirements.txt" -r "$here/requirements.txt" >&2
  echo "$mark" >"$cache/complete"
fi
echo "$cache/environment/bin/python"
"$here/../setup/promtool.sh" prometheus | tail -n 1
