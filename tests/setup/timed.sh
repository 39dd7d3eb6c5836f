#!/usr/bin/env bash
# Runs a command, and notes in the file $DRIFTLINE_TIMES how long it took and whether it succeeded.
# Usage: timed.sh NAME COMMAND...
set -euo pipefail

name=$1
shift
: "${DRIFTLINE_TIMES:?the file to append to}"
mkdir -p "$(dirname "$DRIFTLINE_TIMES")"
printf '\n==> %s: %s\n' "$name" "$*" >&2
started=$(date +%s.%N)
status=0
"$@" || status=$?
ended=$(date +%s.%N)
printf '%s\t%s\t%s\t%s\n' "$name" "$started" "$ended" "$status" >>"$DRIFTLINE_TIMES"
exit "$status"
