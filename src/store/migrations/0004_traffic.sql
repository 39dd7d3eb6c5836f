-- Traffic: times, statuses and sizes of the exchanges, by minute, and of every judged window.

-- The encoded counts of one replica's minute, absolute; null where the tap saw no traffic.
alter table tap_part add column content bytea;

-- The traffic of a window as it was judged: what later windows are compared with. Never changed, so that every later
-- figure can be recomputed; `judged` tells which windows were there when another one was judged.
create table traffic_window (
    model         text not null constraint traffic_window_model_fkey references model (name),
    window_start  timestamptz not null,
    window_end    timestamptz not null,
    judged        bigint generated always as identity,
    verdict       text not null,
    content       bytea not null,
    primary key (model, window_start, window_end)
);
