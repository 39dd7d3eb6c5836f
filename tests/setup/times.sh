#!/usr/bin/env bash
# Prints where the time went, from the file $DRIFTLINE_TIMES that timed.sh wrote.
set -euo pipefail

: "${DRIFTLINE_TIMES:?the file to read}"
[[ -s $DRIFTLINE_TIMES ]] || exit 0
awk -F '\t' '
  function clock(seconds) { return sprintf("%d:%04.1f", int(seconds / 60), seconds % 60) }
  BEGIN { printf "\n%-12s %9s  %s\n", "step", "min:s", "result" }
  {
    printf "%-12s %9s  %s\n", $1, clock($3 - $2), $4 == 0 ? "ok" : "FAILED (status " $4 ")"
    total += $3 - $2
  }
  END { printf "%-12s %9s\n", "total", clock(total) }
' "$DRIFTLINE_TIMES"
