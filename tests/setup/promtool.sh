#!/usr/bin/env bash
# Finds promtool, or takes it out of Debian's package `prometheus`, of which nothing is installed and no service starts.
# Prints its path as the last line, the value for DRIFTLINE_PROMTOOL. A variable that is set already is kept.
# `promtool.sh prometheus` does the same for the server, whose variable is DRIFTLINE_PROMETHEUS.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

name=${1:-promtool}
given=DRIFTLINE_${name^^}
cache=${DRIFTLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/driftline}/promtool
if [[ -n ${!given:-} ]]; then
  program=${!given}
elif command -v "$name" >/dev/null; then
  program=$(command -v "$name")
elif [[ -x $cache/usr/bin/$name ]]; then
  program=$cache/usr/bin/$name
elif command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
  say "$name: taking it out of the package prometheus"
  folder=$(mktemp -d "${TMPDIR:-/tmp}/driftline-promtool.XXXXXX")
  trap 'rm -rf "$folder"' EXIT
  if ! (cd "$folder" && apt-get download -qq prometheus) >&2 2>/dev/null; then
    [[ $(id -u) -ne 0 ]] || apt-get update -qq >&2
    (cd "$folder" && apt-get download -qq prometheus) >&2
  fi
  dpkg-deb -x "$folder"/prometheus_*.deb "$folder/content"
  mkdir -p "$cache/usr/bin"
  # Whole or not at all.
  mv "$folder/content/usr/bin/$name" "$cache/usr/bin/$name.new"
  mv "$cache/usr/bin/$name.new" "$cache/usr/bin/$name"
  program=$cache/usr/bin/$name
else
  say "error: $name is not installed"
  say "  hint: it comes with Prometheus, https://prometheus.io/download; set $given to its path"
  exit 2
fi
say "$name: $("$program" --version 2>&1 | head -n 1)"
printf '%s\n' "$program"
