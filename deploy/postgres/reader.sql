-- The role of Grafana: it reads the views of the schema `dashboard`, and no table, so no captured row, label or message.
-- Run it as the role that driftline connects with, before driftline has made its tables or after.
create schema if not exists dashboard;
create role dashboard_reader login;
alter role dashboard_reader set default_transaction_read_only = on;
alter role dashboard_reader set statement_timeout = '20s';
grant usage on schema dashboard to dashboard_reader;
grant select on all tables in schema dashboard to dashboard_reader;
alter default privileges in schema dashboard grant select on tables to dashboard_reader;
