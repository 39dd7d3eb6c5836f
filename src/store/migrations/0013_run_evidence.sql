-- What a run that ended without a version has measured: metrics, comparisons, segments, parameters. A version keeps its own.
alter table training_run add column evidence jsonb;
