#!/usr/bin/env bash
# Compares `driftline compare` with Evidently and with a scipy loop on the same files, and prints a table.
# Usage: benches/peers/run.sh [ROWS...]      by default 100000 and 1000000
# Installs pinned versions into a virtual environment under the target folder; nothing outside of it is touched.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
place=$target/peers
driftline=${DRIFTLINE:-$target/release/driftline}
if [[ ! -x $driftline ]]; then
  (cd "$root" && cargo build --release --bin driftline)
fi
if ! cmp -s "$here/requirements.txt" "$place/venv/installed.txt"; then
  echo "installing evidently, scipy, pandas, pyarrow into $place/venv" >&2
  rm -rf "$place/venv"
  python3 -m venv "$place/venv"
  "$place/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$place/venv/installed.txt"
fi
sizes=("$@")
if [[ ${#sizes[@]} -eq 0 ]]; then sizes=(100000 1000000); fi
for rows in "${sizes[@]}"; do
  "$place/venv/bin/python" "$here/generate.py" "$rows" "$place/data"
done
"$place/venv/bin/python" "$here/measure.py" "$driftline" "$place/data" "${sizes[@]}"
