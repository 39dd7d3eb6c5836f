//! Judges a window's traffic from what is stored, and does so again for a report that is explained.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::baseline::Season;
use crate::model::ModelName;
use crate::store::traffic::EarlierWindow;
use crate::store::{self, StoreError};
use crate::traffic::{
    self, Compared, DecodeError, Earlier, Figure, Reach, TrafficCounts, TrafficCriteria, TrafficReport,
    TrafficVerdict, Usual,
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

/// The traffic of `span`, which ends now, and what is usual; nothing where parts cannot be read.
pub(super) async fn figures(
    connection: &mut PgConnection,
    model: &ModelName,
    span: Window,
    usual: &Usual,
) -> Result<BTreeMap<Figure, Compared>, StoreError> {
    let parts = store::traffic::parts(connection, model, span).await?;
    let length = (span.end - span.start).to_std().unwrap_or_default();
    match traffic::merge_stored(parts.iter().map(Vec::as_slice)) {
        Ok(counts) if counts.is_empty() => Ok(BTreeMap::new()),
        Ok(counts) => Ok(usual.beside(&counts, length)),
        Err(error) => {
            tracing::warn!(%model, %error, "the traffic of the last minutes cannot be read");
            Ok(BTreeMap::new())
        }
    }
}

/// What the traffic of `window` is compared with: the usual of earlier windows.
pub(super) async fn usual(
    connection: &mut PgConnection,
    model: &ModelName,
    window: Window,
    season: Season,
) -> Result<Usual, StoreError> {
    let found = store::traffic::earlier(connection, model, window, Reach::of(window, season), None).await?;
    let length = (window.end - window.start).to_std().unwrap_or_default();
    let earlier = decoded(&found).unwrap_or_else(|error| {
        tracing::warn!(%model, %error, "the traffic of an earlier window cannot be read");
        Vec::new()
    });
    Ok(Usual::of(&earlier, length))
}

/// The windows that are not left out.
fn decoded(found: &[EarlierWindow]) -> Result<Vec<Earlier>, DecodeError> {
    found
        .iter()
        .filter_map(|window| Some((window.start, window.content.as_deref()?)))
        .map(|(start, content)| Ok(Earlier { start, counts: traffic::decode(content)? }))
        .collect()
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
    Ok(match decoded(&found) {
        Ok(earlier) => traffic::judge(counts, &earlier, left_out, reach.season, criteria),
        Err(error) => {
            let report = traffic::judge(counts, &[], left_out, reach.season, criteria);
            let reason = format!("an earlier window: {error}");
            TrafficReport { verdict: TrafficVerdict::Unknown, reason, ..report }
        }
    })
}
