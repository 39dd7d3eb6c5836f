#!/usr/bin/env bash
# Makes sure of what the other steps stand on: cargo, a C and C++ compiler, Python 3 and pip; for tests curl and h2load.
# Usage: prerequisites.sh [demo|test]
# Root on Debian or Ubuntu gets what is missing by apt-get; everybody else is told the command.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

if ! command -v cargo >/dev/null; then
  say "error: cargo is not on PATH"
  say "  hint: install Rust from https://rustup.rs (or, with rustup present, run: . \"\$HOME/.cargo/env\")"
  exit 2
fi

missing=()
for compiler in cc c++; do
  command -v "$compiler" >/dev/null || { missing+=(build-essential); break; }
done
if ! command -v python3 >/dev/null; then
  missing+=(python3 python3-venv python3-pip)
elif ! python3 -m pip --version >/dev/null 2>&1 && ! python3 -c 'import ensurepip' >/dev/null 2>&1; then
  missing+=(python3-venv python3-pip)
fi

# Clients on either side of the proxy in the tests; a demo needs none.
if [[ ${1:-test} == test ]]; then
  command -v curl >/dev/null || missing+=(curl)
  command -v h2load >/dev/null || missing+=(nghttp2-client)
fi

if ((${#missing[@]} > 0)); then
  if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
    say "prerequisites: installing ${missing[*]} by apt-get"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
  else
    say "error: not installed: ${missing[*]} (by their names in Debian and Ubuntu)"
    say "  hint: sudo apt-get install -y ${missing[*]}"
    exit 2
  fi
fi

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
  say "error: $(python3 --version) is too old; the set-up needs Python 3.9"
  exit 2
fi
say "prerequisites: $(cargo --version), $(cc --version | head -n 1), $(python3 --version)"
