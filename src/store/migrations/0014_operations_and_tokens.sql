-- Who may use the API, and what people have done with it.

-- Only hashes: a token is shown once, when it is made.
create table api_token (
    id            uuid primary key,
    name          text not null,
    hash          bytea not null constraint api_token_hash_key unique check (octet_length(hash) = 32),
    scopes        text[] not null,
    created_at    timestamptz not null,
    expires_at    timestamptz,
    last_used_at  timestamptz,
    revoked_at    timestamptz
);
create unique index api_token_name_key on api_token (name) where revoked_at is null;

-- A browser that has shown a token; it ends with it.
create table api_session (
    hash        bytea primary key check (octet_length(hash) = 32),
    token       uuid not null constraint api_session_token_fkey references api_token (id) on delete cascade,
    created_at  timestamptz not null,
    expires_at  timestamptz not null
);
create index api_session_expires_idx on api_session (expires_at);

-- What a person asked for: written in the transaction that does it.
create table operation (
    id       uuid primary key,
    at       timestamptz not null,
    action   text not null,
    model    text not null constraint operation_model_fkey references model (name),
    subject  text not null,
    author   text not null,
    reason   text not null,
    detail   jsonb not null default '{}'
);
create index operation_model_idx on operation (model, at desc, id desc);

-- The version that one took over from when it last went forward; where a rollback leads.
alter table model_version add column replaced bigint;
update model_version set replaced = parent;
