#!/bin/sh
# Run once by the image of Postgres, when its volume is empty: the role of Grafana, with its password from a file.
set -eu
password=$(cat /run/secrets/dashboard_password)
psql -X -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f /etc/driftline/reader.sql
psql -X -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v password="$password" <<'SQL'
alter role dashboard_reader password :'password';
SQL
