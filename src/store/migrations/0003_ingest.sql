-- Messages that are stored exactly once, and sides of exchanges that wait for the other one.

-- What was ingested: written in the transaction that counts it, so that a second delivery finds it, whatever the
-- replica. `key` is a hash of whatever names the message or the item within its source.
create table ingested (
    source  text not null,
    key     bytea not null,
    at      timestamptz not null default now(),
    primary key (source, key)
);
create index ingested_at_idx on ingested (at);

-- One side of an exchange, decoded and after privacy, until the other one comes or it has waited long enough. There is
-- one row for both sides: of two that come at once at two replicas, the second finds the first.
create table pending_side (
    source      text not null,
    model       text not null constraint pending_side_model_fkey references model (name),
    pair        bytea not null,
    side        text not null check (side in ('request', 'response')),
    content     bytea not null,
    created_at  timestamptz not null default now(),
    primary key (source, model, pair)
);
create index pending_side_created_idx on pending_side (created_at);
