-- Captured rows are moved from the database into files on an object store, and snapshots name these files.

-- A file: captured rows, or the labels that rows of another file had when a snapshot was taken. Its name is the SHA-256
-- of its content. `captured_until` is when the newest of its rows was captured; `deleting` marks what retention is about
-- to delete, which nothing may name any more.
create table capture_segment (
    id              bigint generated always as identity primary key,
    model           text not null constraint capture_segment_model_fkey references model (name),
    kind            text not null check (kind in ('rows', 'labels')),
    sha256          text not null,
    uri             text not null,
    row_count       bigint not null,
    byte_count      bigint not null,
    min_event_time  timestamptz not null,
    max_event_time  timestamptz not null,
    captured_until  timestamptz not null,
    schema          json not null, -- not jsonb: in the order of the file's columns
    deleting        boolean not null default false,
    created_at      timestamptz not null default now(),
    constraint capture_segment_content_key unique (model, kind, sha256)
);
create index capture_segment_time_idx on capture_segment (model, min_event_time);

-- The file of a moved row. Outputs and the features of segments stay here, by which windows are judged again when labels come;
-- so do ids, so that a message that comes again is known. No foreign key: a file may be deleted by retention before the last of
-- its rows.
alter table captured_row add column segment bigint;
create index captured_row_staged_idx on captured_row (model, event_time, row_id) where segment is null;
create index captured_row_waiting_idx on captured_row (model, created_at) where segment is null;

-- What a training set is made of, for ever: files and a filter. `hash` is the SHA-256 of the manifest's text.
create table capture_snapshot (
    hash        text primary key,
    model       text not null constraint capture_snapshot_model_fkey references model (name),
    row_count   bigint not null,
    manifest    json not null, -- not jsonb: the text is what the hash names
    created_at  timestamptz not null default now()
);
create table capture_snapshot_part (
    snapshot  text not null constraint capture_snapshot_part_snapshot_fkey references capture_snapshot (hash) on delete cascade,
    segment   bigint not null constraint capture_snapshot_part_segment_fkey references capture_segment (id),
    primary key (snapshot, segment)
);
create index capture_snapshot_part_segment_idx on capture_snapshot_part (segment);

-- The manifest that a run's rows came from, where they were captured.
alter table snapshot add column capture text
    constraint snapshot_capture_fkey references capture_snapshot (hash) on delete set null;
