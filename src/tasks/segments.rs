//! Judges the segments of a window from what is stored, and does so again for a report that is explained.

use std::collections::BTreeMap;

use anyhow::Context;
use sqlx::PgConnection;

use crate::baseline::Baseline;
use crate::drift::DriftReport;
use crate::profile;
use crate::store;
use crate::window::Window;

/// Adds its segments to `report`, which was made on `baseline`, as its criteria say; nothing where they name none.
///
/// # Errors
///
/// When the database refuses, or a stored part cannot be read.
pub async fn judge_segments(
    connection: &mut PgConnection,
    baseline: &Baseline,
    report: &mut DriftReport,
) -> anyhow::Result<()> {
    let Some(criteria) = &report.criteria.segments else { return Ok(()) };
    let window = Window { start: report.window_start, end: report.window_end };
    let (columns, _) = baseline.segments_of(&criteria.columns, criteria.values);
    let wanted = |key: &str| columns.iter().any(|column| column.keys().iter().any(|known| **known == *key));
    let (model, version) = (report.model.clone(), baseline.version());
    let stored = store::profile_part::segments(&mut *connection, &model, version, window).await?;
    let mut counted = BTreeMap::new();
    // One segment at a time, as their parts together are many times those of all rows.
    for key in stored.into_iter().filter(|key| wanted(key)) {
        let parts =
            store::profile_part::segment_profiles(&mut *connection, &model, version, window, &key).await?;
        let merged = profile::merge_stored(baseline.layout(), &parts)
            .with_context(|| format!("a part of the segment {key} of {model}, window {}", window.start))?;
        counted.insert(key, merged);
    }
    report.judge_segments(baseline, &counted)?;
    Ok(())
}
