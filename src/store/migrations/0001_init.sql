-- The first schema: models and baselines, profile parts, reports, alerts, outbox, capture, runs, registry.

-- A monitored model. `active_baseline` is what new rows are profiled against; null until one is built.
create table model (
    name             text primary key,
    active_baseline  text,
    created_at       timestamptz not null default now()
);

-- Immutable; `version` is the content hash. The document holds everything an evaluation needs.
create table baseline (
    model       text not null constraint baseline_model_fkey references model (name),
    version     text not null,
    row_count   bigint not null,
    source      text not null,
    content     json not null, -- not jsonb: the text is what the version hashes
    created_at  timestamptz not null default now(),
    primary key (model, version)
);
alter table model add constraint model_active_baseline_fkey
    foreign key (name, active_baseline) references baseline (model, version) deferrable initially deferred;

-- One replica's absolute counts of one minute of event time: a retried flush replaces the same row.
-- `part` numbers re-opened minutes, so that a late row never overwrites what was already written.
create table profile_part (
    model          text not null constraint profile_part_model_fkey references model (name),
    model_version  text not null,
    baseline       text not null,
    segment        text not null default '',
    minute         timestamptz not null,
    replica        text not null,
    part           integer not null,
    row_count      bigint not null,
    content        bytea not null,
    updated_at     timestamptz not null default now(),
    primary key (model, baseline, minute, model_version, segment, replica, part)
);

-- The loss identity per minute: seen = kept + sampled_out + sum(dropped).
create table tap_part (
    model        text not null constraint tap_part_model_fkey references model (name),
    minute       timestamptz not null,
    replica      text not null,
    part         integer not null,
    seen         bigint not null,
    kept         bigint not null,
    sampled_out  bigint not null,
    dropped      jsonb not null default '{}',
    first_at     timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    primary key (model, minute, replica, part)
);

-- One judged window. The unique key is what makes a window be judged once.
create table drift_report (
    id            uuid primary key,
    model         text not null constraint drift_report_model_fkey references model (name),
    baseline      text not null,
    window_start  timestamptz not null,
    window_end    timestamptz not null,
    verdict       text not null,
    row_count     bigint not null,
    content       jsonb not null,
    created_at    timestamptz not null default now(),
    constraint drift_report_window_key unique (model, window_start, window_end)
);

-- The present state of every rule and subject that is not inactive, and of those resolved lately.
create table alert (
    fingerprint  text primary key,
    model        text not null constraint alert_model_fkey references model (name),
    rule         text not null,
    subject      text not null,
    state        text not null check (state in ('inactive', 'pending', 'firing', 'resolved')),
    content      jsonb not null,
    updated_at   timestamptz not null default now()
);

-- Every change of state, with the evidence it rested on.
create table alert_transition (
    id           uuid primary key,
    fingerprint  text not null,
    model        text not null,
    rule         text not null,
    subject      text not null,
    from_state   text not null,
    to_state     text not null,
    at           timestamptz not null,
    report       uuid constraint alert_transition_report_fkey references drift_report (id),
    evidence     jsonb not null,
    created_at   timestamptz not null default now()
);
create index alert_transition_model_idx on alert_transition (model, at desc);

-- Messages to be delivered, written in the transaction of the verdict; at least once, `id` deduplicates.
create table outbox (
    id               uuid primary key,
    receiver         text not null,
    message          jsonb not null,
    state            text not null default 'queued' check (state in ('queued', 'sent', 'dead')),
    attempt          integer not null default 0,
    next_attempt_at  timestamptz not null default now(),
    lease_until      timestamptz,
    last_error       text,
    created_at       timestamptz not null default now(),
    sent_at          timestamptz
);
create index outbox_due_idx on outbox (next_attempt_at) where state = 'queued';

-- Sampled rows as they were profiled, for the next training set.
create table captured_row (
    model          text not null constraint captured_row_model_fkey references model (name),
    row_id         text not null,
    event_time     timestamptz not null,
    model_version  text not null,
    features       jsonb not null,
    outputs        jsonb not null,
    created_at     timestamptz not null default now(),
    primary key (model, row_id)
);
create index captured_row_time_idx on captured_row (model, event_time, row_id);

-- True outcomes; may come before their row, and again (the later `labelled_at` wins).
create table label (
    model        text not null constraint label_model_fkey references model (name),
    row_id       text not null,
    value        jsonb not null,
    labelled_at  timestamptz not null,
    created_at   timestamptz not null default now(),
    primary key (model, row_id)
);
create index label_created_idx on label (model, created_at);

-- One training run from request to end. `cause` holds a run per cause, and a rejected run gives its cause back, so
-- that more labels get another try; the lease and `attempt` fence workers.
-- `attempt` counts claims; `lost_leases` counts workers that vanished, and only they use up the tries.
create table training_run (
    id                uuid primary key,
    model             text not null constraint training_run_model_fkey references model (name),
    state             text not null check (state in
                        ('suggested', 'awaiting_approval', 'queued', 'running', 'succeeded', 'rejected', 'failed', 'cancelled')),
    reason_kind       text not null check (reason_kind in ('rule', 'person', 'bootstrap')),
    reason            text not null,
    cause             text not null constraint training_run_cause_key unique,
    spec              jsonb not null,
    attempt           integer not null default 0,
    lost_leases       integer not null default 0,
    worker            text,
    lease_until       timestamptz,
    cancel_requested  boolean not null default false,
    progress          jsonb not null default '{}',
    outcome           text,
    version           bigint,
    created_at        timestamptz not null default now(),
    started_at        timestamptz,
    finished_at       timestamptz
);
-- One run at a time per model.
create unique index training_run_one_active on training_run (model) where state in ('awaiting_approval', 'queued', 'running');
create index training_run_model_idx on training_run (model, created_at desc);

create table training_log (
    run      uuid not null constraint training_log_run_fkey references training_run (id) on delete cascade,
    seq      bigint generated always as identity,
    at       timestamptz not null default now(),
    level    text not null,
    message  text not null,
    primary key (run, seq)
);

-- Every metric of every candidate and epoch of a run; epoch -1 is the final evaluation.
create table training_metric (
    run        uuid not null constraint training_metric_run_fkey references training_run (id) on delete cascade,
    attempt    integer not null,
    candidate  text not null,
    split      text not null,
    epoch      integer not null,
    name       text not null,
    value      double precision not null,
    primary key (run, attempt, candidate, split, epoch, name)
);

-- What a run trained on: immutable, named by the hash of its rows.
create table snapshot (
    hash        text primary key,
    model       text not null constraint snapshot_model_fkey references model (name),
    row_count   bigint not null,
    manifest    jsonb not null,
    created_at  timestamptz not null default now()
);

-- The registry.
create table model_version (
    model            text not null constraint model_version_model_fkey references model (name),
    version          bigint not null,
    state            text not null check (state in ('candidate', 'production', 'archived', 'rejected')),
    kind             text not null check (kind in ('linear', 'deep')),
    artifact_uri     text not null,
    artifact_sha256  text not null,
    metrics          jsonb not null,
    parameters       jsonb not null,
    seed             bigint not null,
    snapshot         text not null constraint model_version_snapshot_fkey references snapshot (hash),
    snapshot_rows    bigint not null,
    baseline         text not null,
    parent           bigint,
    build            jsonb not null,
    run              uuid not null constraint model_version_run_fkey references training_run (id),
    reason           text not null,
    created_at       timestamptz not null default now(),
    promoted_at      timestamptz,
    primary key (model, version),
    constraint model_version_baseline_fkey foreign key (model, baseline) references baseline (model, version)
);
create unique index model_version_one_production on model_version (model) where state = 'production';
