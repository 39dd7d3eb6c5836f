//! `driftline run`: the sidecar.

use std::future::Future;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::ExitStatus;
use crate::app::App;
use crate::config::Settings;
use crate::telemetry;

/// Runs the sidecar until SIGTERM or Ctrl-C.
pub(super) async fn run(settings: Settings) -> anyhow::Result<ExitStatus> {
    telemetry::init_json();
    let stop = stop_signal()?;
    App::build(settings).await?.run(stop).await?;
    Ok(ExitStatus::Success)
}

/// Completes on SIGTERM or Ctrl-C.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
