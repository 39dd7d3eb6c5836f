//! Tables `drift_series` and `drift_columns`: what each judged window came to, narrow enough to draw months of it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row};
use uuid::Uuid;

use super::StoreError;
use crate::drift::{DriftReport, FeatureReport, Verdict};
use crate::model::ModelName;

/// Largest number of the series; what is larger is drawn the same.
const LARGEST: f64 = 1e30;

/// What a report came to, in the shape of the table.
pub(super) struct Narrow {
    pub(super) drifted: i32,
    pub(super) effect: Option<f64>,
    pub(super) strongest: Option<String>,
    pub(super) segments: i32,
    pub(super) segments_drifted: i32,
    pub(super) schema_changes: i32,
    pub(super) statistics: Vec<Option<f32>>,
    pub(super) effects: Vec<Option<f32>>,
    pub(super) verdicts: String,
    pub(super) names: Vec<String>,
    pub(super) roles: Vec<&'static str>,
    pub(super) kinds: Vec<&'static str>,
}

/// The deciding statistic in units of the floor that it has to reach.
fn effect(feature: &FeatureReport) -> Option<f64> {
    let deciding = feature.deciding.as_ref().filter(|deciding| deciding.floor > 0.0)?;
    Some(deciding.value / deciding.floor)
}

#[expect(clippy::cast_possible_truncation, reason = "drawn, and bounded before")]
fn single(value: f64) -> f32 {
    value.clamp(-LARGEST, LARGEST) as f32
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl Narrow {
    pub(super) fn of(report: &DriftReport) -> Self {
        let features = &report.features;
        let strongest = features
            .iter()
            .filter_map(|feature| Some((effect(feature)?, feature)))
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        let value =
            |feature: &FeatureReport| feature.deciding.as_ref().map(|deciding| single(deciding.value));
        Self {
            drifted: count(report.drifted().count()),
            effect: strongest.map(|(effect, _)| effect),
            strongest: strongest.map(|(_, feature)| feature.name.clone()),
            segments: count(report.segments.len()),
            segments_drifted: count(report.drifted_segments().count()),
            schema_changes: count(report.schema_changes.len()),
            statistics: features.iter().map(value).collect(),
            effects: features.iter().map(|feature| effect(feature).map(single)).collect(),
            verdicts: features.iter().map(|feature| &feature.verdict.as_str()[..1]).collect(),
            names: features.iter().map(|feature| feature.name.clone()).collect(),
            roles: features.iter().map(|feature| feature.role.as_str()).collect(),
            kinds: features.iter().map(|feature| feature.kind.as_str()).collect(),
        }
    }
}

/// The verdict that begins with `letter`; one that this build does not know says nothing.
fn verdict_of(letter: u8) -> Verdict {
    match letter {
        b'o' => Verdict::Ok,
        b'd' => Verdict::Drift,
        b'u' => Verdict::Untrusted,
        _ => Verdict::InsufficientData,
    }
}

fn parse_verdict(word: &str) -> Verdict {
    verdict_of(word.bytes().next().unwrap_or_default())
}

/// What one judged window came to.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSummary {
    /// The report.
    pub report: Uuid,
    /// Version of the baseline.
    pub baseline: String,
    /// First instant.
    pub start: DateTime<Utc>,
    /// End, exclusive.
    pub end: DateTime<Utc>,
    /// The decision over all columns.
    pub verdict: Verdict,
    /// The decision in one sentence.
    pub reason: String,
    /// Rows in the window.
    pub rows: u64,
    /// Share of the exchanges that should have been profiled and were not.
    pub loss_share: f64,
    /// Columns that drifted.
    pub drifted: u64,
    /// The largest effect of a column, in units of its floor.
    pub effect: Option<f64>,
    /// The column that has it.
    pub strongest: Option<String>,
    /// Segments that were judged, and how many of them drifted.
    pub segments: (u64, u64),
    /// Differences of the columns from those that are expected.
    pub schema_changes: u64,
    /// The worst verdict on what is expected.
    pub expectations: Option<String>,
    /// The verdict on the traffic.
    pub traffic: Option<String>,
}

fn uncount(number: i32) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn summary(row: &PgRow) -> Result<WindowSummary, sqlx::Error> {
    Ok(WindowSummary {
        report: row.try_get("report")?,
        baseline: row.try_get("baseline")?,
        start: row.try_get("window_start")?,
        end: row.try_get("window_end")?,
        verdict: parse_verdict(row.try_get("verdict")?),
        reason: row.try_get("reason")?,
        rows: row.try_get::<i64, _>("row_count")?.unsigned_abs(),
        loss_share: row.try_get("loss_share")?,
        drifted: uncount(row.try_get("drifted")?),
        effect: row.try_get("effect")?,
        strongest: row.try_get("strongest")?,
        segments: (uncount(row.try_get("segments")?), uncount(row.try_get("segments_drifted")?)),
        schema_changes: uncount(row.try_get("schema_changes")?),
        expectations: row.try_get("expectations")?,
        traffic: row.try_get("traffic")?,
    })
}

/// A model as an overview shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelStanding {
    /// Its name.
    pub model: ModelName,
    /// Version of the active baseline.
    pub baseline: Option<String>,
    /// The version in production.
    pub production: Option<i64>,
    /// Its kind, `linear` or `deep`.
    pub production_kind: Option<String>,
    /// Alerts that fire.
    pub firing: u64,
    /// Alerts that wait for more windows.
    pub pending: u64,
    /// The run that has not ended, and its state.
    pub run: Option<(Uuid, String)>,
    /// Runs that a rule suggests and nobody has decided on.
    pub suggested: u64,
    /// The newest judged window.
    pub last: Option<WindowSummary>,
    /// When the tap last wrote something down.
    pub heard_of: Option<DateTime<Utc>>,
}

/// Every model, or `model`, with its newest window, alerts, version and run.
///
/// # Errors
///
/// [`StoreError::Database`]; [`StoreError::Corrupt`] for a name this build refuses.
pub async fn standing(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
) -> Result<Vec<ModelStanding>, StoreError> {
    let rows = sqlx::query(
        "select m.name, m.active_baseline, v.version as production, v.kind as production_kind,
                a.firing, a.pending, r.id as run, r.state as run_state, u.suggested, t.updated_at as heard_of, s.*
         from model m
         left join model_version v on v.model = m.name and v.state = 'production'
         left join lateral (select count(*) filter (where state = 'firing') as firing,
                                   count(*) filter (where state = 'pending') as pending
                            from alert where model = m.name) a on true
         left join training_run r on r.model = m.name and r.state in ('awaiting_approval', 'queued', 'running')
         left join lateral (select count(*) as suggested from training_run
                            where model = m.name and state = 'suggested') u on true
         left join lateral (select updated_at from tap_part where model = m.name
                            order by updated_at desc limit 1) t on true
         left join lateral (select report, baseline, window_start, window_end, verdict, reason, row_count, loss_share, drifted,
                                   effect, strongest, segments, segments_drifted, schema_changes, expectations, traffic
                            from drift_series where model = m.name order by window_start desc limit 1) s on true
         where $1::text is null or m.name = $1
         order by m.name",
    )
    .bind(model.map(ModelName::as_str))
    .fetch_all(db)
    .await?;
    let standing = |row: &PgRow| {
        let name: String = row.try_get("name")?;
        let model = ModelName::parse(name.clone()).map_err(|error| StoreError::Corrupt {
            table: "model",
            key: name,
            problem: error.to_string(),
        })?;
        let judged: Option<Uuid> = row.try_get("report")?;
        let run: Option<Uuid> = row.try_get("run")?;
        Ok(ModelStanding {
            model,
            baseline: row.try_get("active_baseline")?,
            production: row.try_get("production")?,
            production_kind: row.try_get("production_kind")?,
            firing: row.try_get::<i64, _>("firing")?.unsigned_abs(),
            pending: row.try_get::<i64, _>("pending")?.unsigned_abs(),
            run: run.zip(row.try_get("run_state")?),
            suggested: row.try_get::<i64, _>("suggested")?.unsigned_abs(),
            last: judged.map(|_| summary(row)).transpose()?,
            heard_of: row.try_get("heard_of")?,
        })
    };
    rows.iter().map(standing).collect()
}

/// One window of a sparkline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// First instant of the window.
    pub start: DateTime<Utc>,
    /// The verdict.
    pub verdict: Verdict,
    /// The largest effect of a column, in units of its floor.
    pub effect: Option<f64>,
}

/// The newest `limit` windows of every model, oldest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn sparklines(
    db: impl PgExecutor<'_>,
    limit: i64,
) -> Result<HashMap<String, Vec<Point>>, StoreError> {
    let rows: Vec<(String, DateTime<Utc>, String, Option<f64>)> = sqlx::query_as(
        "select m.name, s.window_start, s.verdict, s.effect from model m
         cross join lateral (select window_start, verdict, effect from drift_series where model = m.name
                             order by window_start desc limit $1) s
         order by m.name, s.window_start",
    )
    .bind(limit)
    .fetch_all(db)
    .await?;
    let mut of_model: HashMap<String, Vec<Point>> = HashMap::new();
    for (model, start, verdict, effect) in rows {
        of_model.entry(model).or_default().push(Point { start, verdict: parse_verdict(&verdict), effect });
    }
    Ok(of_model)
}

/// The newest `limit` windows of `model` up to `until`, newest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn windows(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    until: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Vec<WindowSummary>, StoreError> {
    let rows = sqlx::query(
        "select report, baseline, window_start, window_end, verdict, reason, row_count, loss_share, drifted, effect, strongest,
                segments, segments_drifted, schema_changes, expectations, traffic
         from drift_series where model = $1 and ($2::timestamptz is null or window_start <= $2)
         order by window_start desc limit $3",
    )
    .bind(model.as_str())
    .bind(until)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(summary).collect::<Result<_, _>>()?)
}

/// A column of a model's reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnName {
    /// Its name.
    pub name: String,
    /// `feature`, `output` or `derived`.
    pub role: String,
    /// `numeric`, `categorical` or `boolean`.
    pub kind: String,
}

/// What the columns of some windows came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// The windows, oldest first: first instant, baseline, effects by column, verdicts by column.
    pub windows: Vec<WindowColumns>,
    /// The columns of each baseline of these windows, in the order of effects and verdicts.
    pub columns: HashMap<String, Vec<ColumnName>>,
}

/// One window by columns.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowColumns {
    /// First instant.
    pub start: DateTime<Utc>,
    /// Version of the baseline, which names the columns.
    pub baseline: String,
    /// The deciding statistics in units of their floors.
    pub effects: Vec<Option<f32>>,
    /// The first letters of the verdicts.
    verdicts: String,
}

impl WindowColumns {
    /// The verdict on column `column`, where the report had it.
    pub fn verdict(&self, column: usize) -> Option<Verdict> {
        self.verdicts.as_bytes().get(column).map(|letter| verdict_of(*letter))
    }
}

/// The newest `limit` windows of `model` up to `until`, by columns.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn series<'e, E: PgExecutor<'e> + Copy>(
    db: E,
    model: &ModelName,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Series, StoreError> {
    type Columns = (String, Vec<String>, Vec<String>, Vec<String>);
    type Window = (DateTime<Utc>, String, Vec<Option<f32>>, String);
    let mut windows: Vec<Window> = sqlx::query_as(
        "select window_start, baseline, effects, verdicts from drift_series
         where model = $1 and window_start <= $2 order by window_start desc limit $3",
    )
    .bind(model.as_str())
    .bind(until)
    .bind(limit)
    .fetch_all(db)
    .await?;
    windows.reverse();
    let mut baselines: Vec<&str> = windows.iter().map(|(_, baseline, ..)| baseline.as_str()).collect();
    baselines.sort_unstable();
    baselines.dedup();
    let rows: Vec<Columns> = sqlx::query_as(
        "select baseline, names, roles, kinds from drift_columns where model = $1 and baseline = any($2)",
    )
    .bind(model.as_str())
    .bind(&baselines)
    .fetch_all(db)
    .await?;
    let columns = rows.into_iter().map(|(baseline, names, roles, kinds)| {
        let columns = names.into_iter().zip(roles.into_iter().zip(kinds));
        (baseline, columns.map(|(name, (role, kind))| ColumnName { name, role, kind }).collect())
    });
    let columns = columns.collect();
    let window = |(start, baseline, effects, verdicts)| WindowColumns { start, baseline, effects, verdicts };
    Ok(Series { windows: windows.into_iter().map(window).collect(), columns })
}

/// One column in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColumnPoint {
    /// The report.
    pub report: Uuid,
    /// First instant of the window.
    pub start: DateTime<Utc>,
    /// End of the window, exclusive.
    pub end: DateTime<Utc>,
    /// The deciding statistic; absent where none applies.
    pub statistic: Option<f32>,
    /// The same in units of its floor.
    pub effect: Option<f32>,
    /// The verdict.
    pub verdict: Verdict,
}

/// The column `column` of `model` in its newest `limit` windows, oldest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn of_column(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    column: &str,
    limit: i64,
) -> Result<Vec<ColumnPoint>, StoreError> {
    let rows = sqlx::query(
        "select s.report, s.window_start, s.window_end, s.statistics[c.place] as statistic, s.effects[c.place] as effect,
                substr(s.verdicts, c.place, 1) as verdict
         from (select * from drift_series where model = $1 order by window_start desc limit $3) s
         join (select baseline, array_position(names, $2) as place from drift_columns where model = $1) c
           on c.baseline = s.baseline and c.place is not null
         order by s.window_start",
    )
    .bind(model.as_str())
    .bind(column)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let point = |row: &PgRow| {
        Ok(ColumnPoint {
            report: row.try_get("report")?,
            start: row.try_get("window_start")?,
            end: row.try_get("window_end")?,
            statistic: row.try_get("statistic")?,
            effect: row.try_get("effect")?,
            verdict: parse_verdict(row.try_get("verdict")?),
        })
    };
    Ok(rows.iter().map(point).collect::<Result<_, sqlx::Error>>()?)
}
