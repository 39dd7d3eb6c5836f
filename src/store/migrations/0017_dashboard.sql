-- What dashboards may read: views in a schema of its own, so that a role can be given these and no captured row, label
-- or message. Dashboards name these columns: they are added to and never renamed.
create schema if not exists dashboard;

create view dashboard.report as
select id, model, baseline, window_start, window_end, created_at, verdict, row_count,
       content ->> 'reason' as reason,
       jsonb_array_length(content -> 'features') as columns,
       (select count(*) from jsonb_array_elements(content -> 'features') f where f ->> 'verdict' = 'drift') as drifted,
       content ->> 'expectations_verdict' as expectations_verdict,
       content -> 'traffic' ->> 'verdict' as traffic_verdict
from drift_report;

-- One row per column of every report; an output is `output:NAME`, as in the metrics.
create view dashboard.feature as
select r.id as report, r.model, r.window_start, r.window_end, r.baseline,
       case f ->> 'role' when 'output' then 'output:' else '' end || (f ->> 'name') as feature,
       f ->> 'role' as role, f ->> 'kind' as kind, f ->> 'verdict' as verdict, f ->> 'reason' as reason,
       (f ->> 'n_current')::bigint as row_count,
       (f ->> 'missing_current')::bigint as missing,
       (f -> 'statistics' ->> 'psi')::double precision as psi,
       (f -> 'statistics' ->> 'ks')::double precision as ks,
       (f -> 'statistics' ->> 'mean_shift')::double precision as mean_shift,
       (f ->> 'p_adjusted')::double precision as p_adjusted,
       f -> 'deciding' ->> 'statistic' as deciding,
       (f -> 'deciding' ->> 'value')::double precision as value,
       (f -> 'deciding' ->> 'floor')::double precision as floor,
       f -> 'bins' as bins
from drift_report r cross join lateral jsonb_array_elements(r.content -> 'features') f;

create view dashboard.segment as
select r.id as report, r.model, r.window_start, r.window_end, s ->> 'segment' as segment, s ->> 'verdict' as verdict,
       s ->> 'reason' as reason, (s ->> 'rows')::bigint as row_count
from drift_report r cross join lateral jsonb_array_elements(r.content -> 'segments') s;

create view dashboard.alert as
select fingerprint, model, rule, subject, state, content -> 'labels' ->> 'severity' as severity,
       content ->> 'summary' as summary, updated_at
from alert;

create view dashboard.alert_change as
select id, fingerprint, model, rule, subject, from_state, to_state, at, created_at, report,
       evidence -> 'item' ->> 'summary' as summary
from alert_transition;

-- How messages stand; neither what they say nor to whom.
create view dashboard.message as
select id, receiver, state, attempt, created_at, next_attempt_at, sent_at, last_error from outbox;

create view dashboard.run as
select id, model, state, reason_kind, reason, attempt, worker, outcome, version, created_at, started_at, finished_at
from training_run;

create view dashboard.run_metric as
select m.run, r.model, m.attempt, m.candidate, m.split, m.epoch, m.name, m.value
from training_metric m join training_run r on r.id = m.run;

create view dashboard.run_log as
select l.run, r.model, l.seq, l.at, l.level, l.message from training_log l join training_run r on r.id = l.run;

create view dashboard.version as
select model, version, state, kind, baseline, parent, run, reason, snapshot_rows, created_at, promoted_at
from model_version;

create view dashboard.baseline as
select b.model, b.version, b.row_count, b.source, b.created_at, coalesce(m.active_baseline = b.version, false) as active
from baseline b join model m on m.name = b.model;
