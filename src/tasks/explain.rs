//! Makes a report again from what is stored: every number has to agree to the last bit.

use anyhow::Context;
use sqlx::PgPool;
use thiserror::Error;
use uuid::Uuid;

use super::{judge_again, judge_segments};
use crate::config::Settings;
use crate::drift::{self, DriftReport, Explanation};
use crate::expectations::ByModel;
use crate::profile;
use crate::store::{self, StoreError};
use crate::traffic::TrafficReport;
use crate::window::Window;

/// Why a report could not be made again.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// There is no such report.
    #[error("there is no report {0}")]
    Unknown(Uuid),
    /// Its baseline is not registered any more.
    #[error("baseline {0} is gone")]
    BaselineGone(String),
    /// The database refused or was not reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored cannot be merged or judged.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Recomputes report `id` from the stored parts and baseline.
///
/// # Errors
///
/// [`ExplainError`].
pub async fn explain(
    db: &PgPool,
    settings: &Settings,
    expectations: &ByModel,
    id: Uuid,
) -> Result<Explanation, ExplainError> {
    let stored = store::drift_report::get(db, id).await?.ok_or(ExplainError::Unknown(id))?;
    let baseline = store::baseline::get(db, &stored.model, &stored.baseline)
        .await?
        .ok_or_else(|| ExplainError::BaselineGone(stored.baseline.clone()))?;
    let window = Window { start: stored.window_start, end: stored.window_end };
    let parts = store::profile_part::profiles(db, &stored.model, baseline.version(), window).await?;
    let (losses, criteria) = (stored.losses.clone(), stored.criteria.clone());
    // Merging and judging hundreds of columns is no work for a thread that answers others.
    let judged = tokio::task::spawn_blocking(move || {
        let merged = profile::merge_stored(baseline.layout(), &parts)?;
        let again = drift::evaluate(&baseline, &merged, losses, window, &criteria)?;
        anyhow::Ok((baseline, merged, again))
    });
    let (baseline, merged, mut again) = judged.await.context("judging was stopped")??;
    let mut notes = Vec::new();
    let seen = store::profile_part::columns_seen(db, &stored.model, baseline.version(), window).await?;
    let approved = settings.model(&stored.model).map_or(&[][..], |model| &model.schema);
    again.compare_schema(approved, &baseline, &merged, &seen);
    if let Some(version) = &stored.expectations_version {
        let expected = expectations.get(&stored.model).filter(|expected| expected.version() == *version);
        if let Some(expected) = expected {
            again.judge_expectations(expected, &baseline, &merged);
        } else {
            again.expectations.clone_from(&stored.expectations);
            again.expectations_verdict = stored.expectations_verdict;
            again.expectations_version.clone_from(&stored.expectations_version);
            notes.push(format!(
                "expectations are as stored: their version {version} is not in the settings any more"
            ));
        }
    }
    let mut connection = db.acquire().await.map_err(StoreError::from)?;
    judge_segments(&mut connection, &baseline, &mut again).await?;
    drop(connection);
    again.traffic = explain_traffic(db, &stored, &mut notes).await?;
    Ok(Explanation::new(&stored, again, notes))
}

/// Judges the traffic of `stored` again, from the windows that were there when it was judged.
async fn explain_traffic(
    db: &PgPool,
    stored: &DriftReport,
    notes: &mut Vec<String>,
) -> Result<Option<TrafficReport>, ExplainError> {
    let Some(traffic) = &stored.traffic else { return Ok(None) };
    let window = Window { start: stored.window_start, end: stored.window_end };
    let mut connection = db.acquire().await.map_err(StoreError::from)?;
    let Some((again, late)) = judge_again(&mut connection, &stored.model, window, traffic).await? else {
        notes.push("traffic is as stored: its counts were not kept".to_owned());
        return Ok(Some(traffic.clone()));
    };
    if late > 0 {
        notes.push(format!("{late} exchanges came after the window was judged; its traffic is without them"));
    }
    Ok(Some(again))
}
