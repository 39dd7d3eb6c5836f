-- Rules that watch between windows.

-- When each rule last looked at a model, so that no moment is looked at twice by two processes or after a restart.
create table watched (
    model      text not null,
    rule       text not null,
    looked_at  timestamptz not null,
    primary key (model, rule)
);

-- When a model was last heard of.
create index tap_part_updated_idx on tap_part (model, updated_at desc);
create index drift_report_created_idx on drift_report (model, created_at desc);
