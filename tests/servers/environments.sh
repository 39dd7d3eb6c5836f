#!/usr/bin/env bash
# Makes the Python environments of the model servers, each with what `requirements/` pins; prints their folder.
#
# They are kept in the cache, and made anew when the requirements change. Some 2.5 GB in all.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${DRIFTLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/driftline}/servers
# tritonserver's embedded Python wants the one of the distribution.
python=/usr/bin/python3.11
[[ -x $python ]] || { echo "test-servers: $python is missing; hint: apt-get install python3.11" >&2; exit 1; }
mkdir -p "$cache"
say() { echo "test-servers: $*" >&2; }
if [[ ! -x $cache/tool/bin/virtualenv ]]; then
  python3 -m venv "$cache/tool"
  "$cache/tool/bin/pip" -q install virtualenv==20.35.4 >&2
fi
for file in "$here"/requirements/*.txt; do
  name=$(basename "$file" .txt)
  mark=$(sha256sum <"$file" | cut -c1-16)
  [[ $(cat "$cache/$name/complete" 2>/dev/null) == "$mark" ]] && continue
  say "making the environment of $name"
  rm -rf "${cache:?}/$name"
  "$cache/tool/bin/virtualenv" -q -p "$python" "$cache/$name" >&2
  "$cache/$name/bin/pip" -q install --no-compile -r "$file" >&2
  echo "$mark" >"$cache/$name/complete"
done
echo "$cache"
