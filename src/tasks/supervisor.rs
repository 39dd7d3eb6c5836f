//! Runs the tasks together: one that ends early takes the process down, and shutdown waits for all.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::{JoinError, JoinSet};
use tokio::time;
use tokio_util::sync::CancellationToken;

/// Runs `tasks` until `stop` completes or one of them ends, then lets the rest finish.
///
/// A task that ends before it was asked to takes the whole process down: a sidecar that has quietly stopped
/// watching is worse than one that restarts.
///
/// # Errors
///
/// The first task's failure or panic, an early end, or tasks still running after `grace`.
pub async fn supervise(
    mut tasks: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> anyhow::Result<()> {
    let mut outcome = tokio::select! {
        () = stop => Ok(()),
        Some(ended) = tasks.join_next() => flatten(ended).and_then(|()| bail!("a task ended before shutdown")),
    };
    shutdown.cancel();
    let drained = time::timeout(grace, async {
        while let Some(ended) = tasks.join_next().await {
            if let (Ok(()), Err(error)) = (&outcome, flatten(ended)) {
                outcome = Err(error);
            }
        }
    })
    .await;
    outcome?;
    drained.with_context(|| format!("tasks still running after {grace:?}"))
}

fn flatten(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    ended.context("a task panicked")?
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn an_early_end_is_a_failure() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async { Ok(()) });
        let outcome = supervise(tasks, CancellationToken::new(), pending(), Duration::from_secs(1)).await;
        assert_eq!(outcome.unwrap_err().to_string(), "a task ended before shutdown");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        tasks.spawn(async { panic!("on purpose") });
        let outcome = supervise(tasks, CancellationToken::new(), pending(), Duration::from_secs(1)).await;
        assert_eq!(outcome.unwrap_err().to_string(), "a task panicked");
    }

    #[tokio::test]
    async fn shutdown_waits_for_every_task() {
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let token = shutdown.clone();
        let ended = Arc::new(AtomicBool::new(false));
        let finished = Arc::clone(&ended);
        tasks.spawn(async move {
            token.cancelled().await;
            tokio::task::yield_now().await;
            finished.store(true, Ordering::Relaxed);
            Ok(())
        });
        supervise(tasks, shutdown, async {}, Duration::from_mins(1)).await.unwrap();
        assert!(ended.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_named_after_the_grace() {
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        tasks.spawn(pending());
        let outcome = supervise(tasks, CancellationToken::new(), async {}, Duration::from_millis(1)).await;
        assert!(outcome.unwrap_err().to_string().contains("still running after 1ms"));
    }
}
