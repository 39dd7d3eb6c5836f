-- Alerts of driftline itself, which stand under a name that no monitored model has.
alter table alert drop constraint alert_model_fkey;

-- What each running process finds wrong with the watch. A row that is not renewed is of a process that has gone.
create table internal_fault (
    replica     text not null,
    fault       text not null,
    detail      text not null,
    updated_at  timestamptz not null default now(),
    primary key (replica, fault)
);

-- How old the oldest waiting message is, and which ones were given up lately.
create index outbox_state_idx on outbox (state, next_attempt_at) where state <> 'sent';
