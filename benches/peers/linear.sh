#!/usr/bin/env bash
# Compares the trainer's linear models with scikit-learn on the same rows, and prints a table.
# Usage: benches/peers/linear.sh [ROWS] [COLUMNS]      by default 1000000 and 50
# Installs a pinned scikit-learn into a virtual environment under the target folder; nothing outside of it is touched.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
place=$target/peers/linear
mkdir -p "$place"
wanted="scikit-learn==1.7.2 numpy==2.4.6"
if [[ $(cat "$place/venv/installed.txt" 2>/dev/null) != "$wanted" ]]; then
  echo "installing $wanted into $place/venv" >&2
  rm -rf "$place/venv"
  python3 -m venv "$place/venv"
  # shellcheck disable=SC2086  # two words
  "$place/venv/bin/pip" install --quiet --disable-pip-version-check $wanted
  echo "$wanted" > "$place/venv/installed.txt"
fi
program=${LINEAR_BENCH:-}
if [[ -z $program ]]; then
  program=$(cd "$root" && cargo bench -p driftline-trainer --bench linear --no-run --message-format=json |
    python3 -c 'import json,sys
for line in sys.stdin:
    told = json.loads(line)
    if told.get("executable") and told["target"]["name"] == "linear": print(told["executable"])')
fi
"$place/venv/bin/python" "$here/linear.py" "$program" "$place" "$@"
