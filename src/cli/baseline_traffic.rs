//! `driftline baseline build --from-traffic`: from the rows that were captured, for those who have no data.

use std::io::Write;

use anyhow::bail;

use super::baseline::{Build, finish};
use crate::app;
use crate::config::Settings;
use crate::tasks;

/// Builds from what was captured.
pub(super) async fn from_traffic(
    arguments: &Build,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Some(span) = arguments.from_traffic else { bail!("name reference data, or say `--from-traffic 7d`") };
    let policies = tasks::load_privacy(settings)?;
    let place = tasks::capture_place(settings)?;
    let database = app::open_database(settings).await?;
    let of = tasks::FromTraffic {
        model: &arguments.model,
        settings: settings.model(&arguments.model),
        policies: &policies,
        span,
        until: app::now(),
        exclude: &arguments.exclude,
        cut: &arguments.cut(),
        joint: !arguments.no_joint,
    };
    let built = tasks::from_traffic(&database.pool, &place, of).await;
    database.close().await?;
    let built = built?;
    if !built.left_out.is_empty() {
        let names = built.left_out.join(", ");
        writeln!(std::io::stderr(), "note: left out, as they hold nothing to compare or name rows: {names}")?;
    }
    let folder = arguments.out.as_ref().unwrap_or(&settings.baselines_dir);
    finish(&built.baseline, folder, arguments.no_register, arguments.json, settings, out).await
}
