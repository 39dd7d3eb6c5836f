#!/usr/bin/env bash
# Makes sure of a RabbitMQ for the tests: one that answers on port 5672, else the programs to start one of their own.
# Root on Debian or Ubuntu gets them by apt-get; everybody else is told the command.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

if (exec 3<>/dev/tcp/127.0.0.1/5672) 2>/dev/null; then
  say "rabbitmq: using the one that answers on port 5672, as guest"
elif command -v rabbitmq-server >/dev/null; then
  say "rabbitmq: the tests start $(command -v rabbitmq-server)"
elif [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
  say "rabbitmq: installing rabbitmq-server by apt-get"
  apt-get update -qq >&2
  # It is started by the tests and not as a service.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rabbitmq-server >&2
else
  say "error: no RabbitMQ answers on port 5672, and rabbitmq-server is not installed"
  say "  hint: sudo apt-get install -y rabbitmq-server"
  exit 2
fi
