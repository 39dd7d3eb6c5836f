-- Who is told what: groups of alerts, what happened to them, silences and acknowledgements.

-- An open group; `slot` is route and labels, of which one group is open at a time. `next_at` is when a timer ends.
create table alert_group (
    slot        text primary key,
    key         text not null,
    model       text, -- null: its alerts may be of several models
    content     jsonb not null,
    next_at     timestamptz,
    updated_at  timestamptz not null default now()
);
create index alert_group_due_idx on alert_group (next_at) where next_at is not null;
create index alert_group_model_idx on alert_group (model);

-- What happened to alerts apart from their transitions: told, suppressed, released, acknowledged.
create table alert_event (
    id            uuid primary key,
    group_key     text not null,
    fingerprints  text[] not null,
    at            timestamptz not null,
    happening     jsonb not null,
    created_at    timestamptz not null default now()
);
create index alert_event_fingerprints_idx on alert_event using gin (fingerprints);
create index alert_event_at_idx on alert_event (at);
create index alert_transition_fingerprint_idx on alert_transition (fingerprint, at);

create table silence (
    id          uuid primary key,
    matchers    text[] not null,
    starts_at   timestamptz not null,
    ends_at     timestamptz not null,
    author      text not null,
    reason      text not null,
    created_at  timestamptz not null default now()
);
create index silence_ends_idx on silence (ends_at);

-- Of one firing of an alert (`fingerprint` and `firing_since`) or of one episode of a group (`group_key`).
create table alert_ack (
    id            uuid primary key,
    fingerprint   text,
    firing_since  timestamptz,
    group_key     text,
    author        text not null,
    reason        text not null,
    at            timestamptz not null,
    check ((group_key is null) = (fingerprint is not null) and (fingerprint is null) = (firing_since is null))
);
create index alert_ack_fingerprint_idx on alert_ack (fingerprint);
create index alert_ack_group_idx on alert_ack (group_key);
