-- How good predictions were: one report per window, made again as labels come.

-- When a label was written or took the place of another.
alter table label add column changed_at timestamptz not null default now();
create index label_changed_idx on label (model, changed_at);

create table performance_report (
    model         text not null constraint performance_report_model_fkey references model (name),
    window_start  timestamptz not null,
    window_end    timestamptz not null,
    mature        boolean not null,
    row_count     bigint not null,
    labelled      bigint not null,
    newest_label  timestamptz not null,
    content       jsonb not null,
    updated_at    timestamptz not null default now(),
    primary key (model, window_start, window_end)
);
create index performance_report_updated_idx on performance_report (updated_at);
