#!/usr/bin/env bash
# Installs what is missing and notes where everything is, as shell exports, in the file given.
# Usage: setup.sh ENVIRONMENT_FILE (demo|test)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
file=$1
purpose=$2

"$here/prerequisites.sh" "$purpose"
libtorch=$(python3 "$root/trainer/setup/libtorch.py" | tail -n 1)
python=
api_python=
nats=
promtool=
if [[ $purpose == test ]]; then
  # The tests of the private cluster need the programs even where DATABASE_URL serves all others.
  postgres=$(env -u DATABASE_URL python3 "$here/postgres.py" | tail -n 1)
  python=$(python3 "$here/python.py" | tail -n 1)
  api_python=$(python3 "$here/python.py" api | tail -n 1)
  nats=$(python3 "$here/brokers.py" nats | tail -n 1)
  "$here/rabbitmq.sh"
  promtool=$("$here/promtool.sh" | tail -n 1)
  "$here/alertmanager.sh"
else
  postgres=$(python3 "$here/postgres.py" | tail -n 1)
fi

mkdir -p "$(dirname "$file")"
{
  printf 'export LIBTORCH=%q\n' "$libtorch"
  [[ -z $postgres ]] || printf 'export DRIFTLINE_POSTGRES_BIN=%q\n' "$postgres"
  [[ -z $nats ]] || printf 'export DRIFTLINE_NATS_SERVER=%q\n' "$nats"
  [[ -z $promtool ]] || printf 'export DRIFTLINE_PROMTOOL=%q\n' "$promtool"
  [[ -z $python ]] || printf 'export DRIFTLINE_TEST_PYTHON=%q\n' "$python"
  [[ -z $api_python ]] || printf 'export DRIFTLINE_API_PYTHON=%q\n' "$api_python"
} >"$file.new"
mv "$file.new" "$file"
