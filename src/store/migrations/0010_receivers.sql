-- Messages of one group reach a receiver in the order in which they were written; deliveries are counted against limits.

alter table outbox
    add column sequence   bigint generated always as identity,
    add column group_key  text generated always as (message #>> '{group,key}') stored,
    -- Attempts that no longer count, since a person had the message tried again.
    add column forgiven   integer not null default 0;
create index outbox_waiting_idx on outbox (receiver, group_key, sequence) where state = 'queued';
create index outbox_group_idx on outbox (receiver, group_key, sequence) where state = 'sent';
create index outbox_sent_idx on outbox (receiver, sent_at) where state = 'sent';
