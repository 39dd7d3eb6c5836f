//! `driftline run`: the sidecar.

use std::future::Future;
use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::ExitStatus;
use crate::app::App;
use crate::config::Settings;
use crate::telemetry;

/// Runs the sidecar until SIGTERM or Ctrl-C; SIGHUP asks that rules be read again.
pub(super) async fn run(settings: Settings, config: Option<&Path>) -> anyhow::Result<ExitStatus> {
    telemetry::init_json();
    let stop = stop_signal()?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let mut app = App::build(settings).await?;
    if let Some(path) = config {
        app.watch_settings(path);
    }
    let reload = app.reload_request();
    app.run(async move {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                Some(()) = hangup.recv() => reload.notify_one(),
            }
        }
    })
    .await?;
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
