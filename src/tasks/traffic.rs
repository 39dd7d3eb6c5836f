//! Judges a window's traffic from what is stored, and does so again for a report that is explained.

use sqlx::PgConnection;

use crate::baseline::Season;
use crate::model::ModelName;
use crate::store::{self, StoreError};
use crate::traffic::{
    self, DecodeError, Earlier, Reach, TrafficCounts, TrafficCriteria, TrafficReport, TrafficVerdict,
};
use crate::window::Window;

/// A window's traffic with the verdict on it, and what is to be kept of it.
#[derive(Debug)]
pub(super) struct JudgedTraffic {
    pub(super) report: TrafficReport,
    /// The encoded counts; absent where the parts cannot be read.
    content: Option<Vec<u8>>,
}

impl JudgedTraffic {
    /// Keeps the counts for the windows to come, in the transaction of the report.
    pub(super) async fn keep(
        &self,
        transaction: &mut PgConnection,
        model: &ModelName,
        window: Window,
    ) -> Result<(), StoreError> {
        match &self.content {
            Some(content) => {
                store::traffic::insert(transaction, model, window, self.report.verdict, content).await
            }
            None => Ok(()),
        }
    }
}

/// Judges the traffic of `window`; none when the tap saw none.
///
/// Parts that cannot be read, as those of a newer build, make the verdict `unknown`; they hold up nothing else.
pub(super) async fn judge(
    transaction: &mut PgConnection,
    model: &ModelName,
    window: Window,
    season: Season,
    criteria: TrafficCriteria,
) -> Result<Option<JudgedTraffic>, StoreError> {
    let parts = store::traffic::parts(&mut *transaction, model, window).await?;
    let counts = match traffic::merge_stored(parts.iter().map(Vec::as_slice)) {
        Ok(counts) => counts,
        Err(error) => {
            let report = TrafficReport::unreadable(criteria, format!("a part of the window: {error}"));
            return Ok(Some(JudgedTraffic { report, content: None }));
        }
    };
    if counts.is_empty() {
        return Ok(None);
    }
    let report = compare(transaction, model, window, season, &counts, &criteria, None).await?;
    Ok(Some(JudgedTraffic { report, content: Some(traffic::encode(&counts)) }))
}

/// Judges the traffic of a window once more, as it was, beside the windows that had been judged by then.
///
/// # Returns
///
/// The report made again, and how many exchanges have come to the window since; none when its counts were not kept.
///
/// # Errors
///
/// When the database refuses.
pub async fn judge_again(
    connection: &mut PgConnection,
    model: &ModelName,
    window: Window,
    stored: &TrafficReport,
) -> Result<Option<(TrafficReport, u64)>, StoreError> {
    let Some((judged, content)) = store::traffic::judged(&mut *connection, model, window).await? else {
        return Ok(None);
    };
    let Ok(counts) = traffic::decode(&content) else { return Ok(None) };
    let parts = store::traffic::parts(&mut *connection, model, window).await?;
    let now = traffic::merge_stored(parts.iter().map(Vec::as_slice)).map_or(0, |counts| counts.requests());
    let season = stored.reference.season;
    let mut report =
        compare(connection, model, window, season, &counts, &stored.criteria, Some(judged)).await?;
    // Figures that a later build shows beside the others.
    report.figures.retain(|figure, _| stored.figures.contains_key(figure));
    Ok(Some((report, now.saturating_sub(counts.requests()))))
}

async fn compare(
    connection: &mut PgConnection,
    model: &ModelName,
    window: Window,
    season: Season,
    counts: &TrafficCounts,
    criteria: &TrafficCriteria,
    before: Option<i64>,
) -> Result<TrafficReport, StoreError> {
    let reach = Reach::of(window, season);
    let found = store::traffic::earlier(connection, model, window, reach, before).await?;
    let left_out = found.iter().filter(|window| window.content.is_none()).count();
    let earlier: Result<Vec<Earlier>, DecodeError> = found
        .iter()
        .filter_map(|window| Some((window.start, window.content.as_deref()?)))
        .map(|(start, content)| Ok(Earlier { start, counts: traffic::decode(content)? }))
        .collect();
    Ok(match earlier {
        Ok(earlier) => traffic::judge(counts, &earlier, left_out, reach.season, criteria),
        Err(error) => {
            let report = traffic::judge(counts, &[], left_out, reach.season, criteria);
            let reason = format!("an earlier window: {error}");
            TrafficReport { verdict: TrafficVerdict::Unknown, reason, ..report }
        }
    })
}
