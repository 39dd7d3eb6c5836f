#!/usr/bin/env bash
# Runs a command with DATABASE_URL set to a Postgres of its own, on a socket only, and stops it afterwards.
# A DATABASE_URL that is set already is used as it is.
set -euo pipefail

if [[ -n "${DATABASE_URL:-}" ]]; then
  exec "$@"
fi
: "${DRIFTLINE_POSTGRES_BIN:?run it through make, which sets DRIFTLINE_POSTGRES_BIN}"

folder=$(mktemp -d "${TMPDIR:-/tmp}/driftline-tests.XXXXXX")
as=()
if [[ $(id -u) == 0 ]]; then
  # Postgres refuses to run as root.
  user=postgres
  id "$user" >/dev/null 2>&1 || user=nobody
  chown "$user" "$folder"
  as=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
fi
stop() {
  (cd / && "${as[@]}" "$DRIFTLINE_POSTGRES_BIN/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null 2>&1) || true
  rm -rf "$folder"
}
trap stop EXIT
(
  cd /
  "${as[@]}" "$DRIFTLINE_POSTGRES_BIN/initdb" -D "$folder/data" -U driftline --auth=trust -E UTF8 --no-sync >"$folder/initdb.log" 2>&1 \
    || { cat "$folder/initdb.log" >&2; exit 1; }
  # Tests throw their data away: no need to wait for the disk.
  "${as[@]}" "$DRIFTLINE_POSTGRES_BIN/pg_ctl" -D "$folder/data" -w -l "$folder/log" \
    -o "-c listen_addresses='' -k $folder -c fsync=off -c max_connections=200" start >/dev/null \
    || { cat "$folder/log" >&2; exit 1; }
)
[[ $(id -u) != 0 ]] || chmod 755 "$folder"
export DATABASE_URL="postgres:///postgres?host=$folder&user=driftline&sslmode=disable"
"$@"
