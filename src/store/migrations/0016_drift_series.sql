-- What each judged window came to, narrow enough to draw months of it: a report of many columns is a megabyte.

-- The columns of the reports on one baseline, in their order.
create table drift_columns (
    model     text not null,
    baseline  text not null,
    names     text[] not null,
    roles     text[] not null,
    kinds     text[] not null,
    primary key (model, baseline)
);

create table drift_series (
    report            uuid primary key constraint drift_series_report_fkey references drift_report (id) on delete cascade,
    model             text not null,
    baseline          text not null,
    window_start      timestamptz not null,
    window_end        timestamptz not null,
    verdict           text not null,
    reason            text not null,
    row_count         bigint not null,
    loss_share        double precision not null,
    drifted           integer not null,
    -- The largest effect in units of the floor it has to reach, and the column; null where no column has a statistic.
    effect            double precision,
    strongest         text,
    segments          integer not null,
    segments_drifted  integer not null,
    schema_changes    integer not null,
    expectations      text,
    traffic           text,
    -- By column: the deciding statistic, the same in units of its floor, and the verdict's first letter.
    statistics        real[] not null,
    effects           real[] not null,
    verdicts          text not null
);
create index drift_series_window_idx on drift_series (model, window_start desc);

insert into drift_columns
    select distinct on (r.model, r.baseline) r.model, r.baseline, c.names, c.roles, c.kinds
    from drift_report r
    cross join lateral (
        select coalesce(array_agg(f ->> 'name' order by n), '{}') as names,
               coalesce(array_agg(f ->> 'role' order by n), '{}') as roles,
               coalesce(array_agg(f ->> 'kind' order by n), '{}') as kinds
        from jsonb_array_elements(r.content -> 'features') with ordinality as features (f, n)
    ) c
    order by r.model, r.baseline, r.window_end desc;

insert into drift_series
    select r.id, r.model, r.baseline, r.window_start, r.window_end, r.verdict, r.content ->> 'reason', r.row_count,
           (select case when kept + lost = 0 then 0 else lost / (kept + lost) end
            from (select (r.content #>> '{losses,kept}')::float8 as kept,
                         coalesce((select sum(value::float8) from jsonb_each_text(r.content #> '{losses,dropped}')
                                   where key not in ('client_disconnected', 'error_status', 'request_incomplete', 'unforwardable',
                                                     'upstream_reset', 'upstream_timeout', 'upstream_unreachable')), 0) as lost) l),
           c.drifted, c.effect, c.strongest,
           coalesce(jsonb_array_length(r.content -> 'segments'), 0),
           (select count(*) from jsonb_array_elements(r.content -> 'segments') s where s ->> 'verdict' = 'drift'),
           coalesce(jsonb_array_length(r.content -> 'schema_changes'), 0),
           r.content ->> 'expectations_verdict', r.content #>> '{traffic,verdict}',
           c.statistics, c.effects, c.verdicts
    from drift_report r
    cross join lateral (
        select count(*) filter (where verdict = 'drift') as drifted,
               max(value / floor) as effect,
               (array_agg(name order by value / floor desc nulls last, n))[1] as strongest,
               coalesce(array_agg(round(least(value, 1e30)::numeric, 6)::real order by n), '{}') as statistics,
               coalesce(array_agg(round(least(value / floor, 1e30)::numeric, 6)::real order by n), '{}') as effects,
               coalesce(string_agg(left(verdict, 1), '' order by n), '') as verdicts
        from (select n, f ->> 'name' as name, f ->> 'verdict' as verdict,
                     (f #>> '{deciding,value}')::float8 as value, nullif((f #>> '{deciding,floor}')::float8, 0) as floor
              from jsonb_array_elements(r.content -> 'features') with ordinality as features (f, n)) of_columns
    ) c;
