#!/usr/bin/env bash
# Finds promtool, or takes it out of Debian's package `prometheus`, of which nothing is installed and no service starts.
# Prints its path as the last line, the value for DRIFTLINE_PROMTOOL. A variable that is set already is kept.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

cache=${DRIFTLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/driftline}/promtool
if [[ -n ${DRIFTLINE_PROMTOOL:-} ]]; then
  program=$DRIFTLINE_PROMTOOL
elif command -v promtool >/dev/null; then
  program=$(command -v promtool)
elif [[ -x $cache/usr/bin/promtool ]]; then
  program=$cache/usr/bin/promtool
elif command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
  say "promtool: taking it out of the package prometheus"
  folder=$(mktemp -d "${TMPDIR:-/tmp}/driftline-promtool.XXXXXX")
  trap 'rm -rf "$folder"' EXIT
  if ! (cd "$folder" && apt-get download -qq prometheus) >&2 2>/dev/null; then
    [[ $(id -u) -ne 0 ]] || apt-get update -qq >&2
    (cd "$folder" && apt-get download -qq prometheus) >&2
  fi
  dpkg-deb -x "$folder"/prometheus_*.deb "$folder/content"
  mkdir -p "$cache/usr/bin"
  # Whole or not at all.
  mv "$folder/content/usr/bin/promtool" "$cache/usr/bin/promtool.new"
  mv "$cache/usr/bin/promtool.new" "$cache/usr/bin/promtool"
  program=$cache/usr/bin/promtool
else
  say "error: promtool is not installed"
  say "  hint: it comes with Prometheus, https://prometheus.io/download; set DRIFTLINE_PROMTOOL to its path"
  exit 2
fi
say "promtool: $("$program" --version 2>&1 | head -n 1)"
printf '%s\n' "$program"
