#!/usr/bin/env bash
# Makes sure of a Prometheus Alertmanager for the tests, which start one of their own and send alerts to it.
# Root on Debian or Ubuntu gets it by apt-get; everybody else is told the command.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

for program in "${DRIFTLINE_ALERTMANAGER:-}" prometheus-alertmanager alertmanager; do
  if [[ -n $program ]] && command -v "$program" >/dev/null; then
    say "alertmanager: the tests start $(command -v "$program")"
    exit 0
  fi
done
if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
  say "alertmanager: installing prometheus-alertmanager by apt-get"
  apt-get update -qq >&2
  # It is started by the tests and not as a service.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus-alertmanager >&2
else
  say "error: prometheus-alertmanager is not installed"
  say "  hint: sudo apt-get install -y prometheus-alertmanager"
  exit 2
fi
