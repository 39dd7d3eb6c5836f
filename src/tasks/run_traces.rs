//! The trace of each training run: from the alert that asked for it to the row in the registry.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::store::StoreError;
use crate::store::training_status::{self, FinishedRun};
use crate::tasks::catalog::error_chain;
use crate::traces::{Attribute, Span, SpanKind, Tracer, span_id_of};

/// How often ended runs are looked for.
const EVERY: Duration = Duration::from_secs(2);

/// Tells of runs that end, whichever worker had them. The id of a run is that of its trace, so that two sidecars that tell of
/// one run tell the same.
#[derive(Debug)]
pub struct RunTraces {
    db: PgPool,
    settings: Arc<Settings>,
    tracer: Tracer,
    /// The end of the last run that was told of, in microseconds since 1970 on the database's clock.
    told_until: Option<i64>,
}

impl RunTraces {
    /// A task for the models of `settings`.
    pub fn new(db: PgPool, settings: Arc<Settings>, tracer: Tracer) -> Self {
        Self { db, settings, tracer, told_until: None }
    }

    /// Tells until shutdown; nothing is done where traces are off.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        if !self.tracer.is_on() {
            shutdown.cancelled().await;
            return Ok(());
        }
        let mut failing = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            match self.look().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    tracing::warn!(error = %error_chain(&error), "ended runs were not looked up, trying again");
                    failing = true;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Tells of the runs that ended since the last look; the first look only notes the time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database is not reached.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        let Some(since) = self.told_until else {
            self.told_until = Some(training_status::now(&self.db).await?);
            return Ok(());
        };
        for run in training_status::finished_after(&self.db, since).await? {
            self.told_until = Some(run.finished);
            if self.settings.models.iter().any(|model| model.name.as_str() == run.model) {
                for span in spans(&run) {
                    self.tracer.tell(span);
                }
            }
        }
        Ok(())
    }
}

/// The run as a whole, and its parts: the wait for a worker, the training, the registration.
fn spans(run: &FinishedRun) -> Vec<Span> {
    let trace = run.id.into_bytes();
    let root = span_id_of(trace, "retrain");
    let text = |key, value: &str| (key, Attribute::Text(value.to_owned()));
    let mut attributes = vec![
        text("driftline.model", &run.model),
        text("driftline.run", &run.id.to_string()),
        text("driftline.reason.kind", &run.reason_kind),
        text("driftline.reason", &run.reason),
        text("driftline.state", &run.state),
        text("driftline.outcome", run.outcome.as_deref().unwrap_or_default()),
    ];
    attributes.extend(run.version.map(|version| ("driftline.version", Attribute::Number(version))));
    let failure = || (run.state == "failed").then(|| run.outcome.clone().unwrap_or_default());
    let span = |name, start, end, attributes| Span {
        trace,
        id: span_id_of(trace, name),
        parent: (name != "retrain").then_some(root),
        name,
        kind: SpanKind::Internal,
        start,
        end,
        attributes,
        error: None,
    };
    let mut spans =
        vec![Span { error: failure(), ..span("retrain", run.created_at, run.finished_at, attributes) }];
    let begun = run.started_at.unwrap_or(run.finished_at);
    spans.push(span("queue", run.created_at, begun, Vec::new()));
    if let Some(started_at) = run.started_at {
        let mut attributes = vec![("driftline.attempt", Attribute::Number(i64::from(run.attempt)))];
        attributes.extend(run.worker.as_deref().map(|worker| text("driftline.worker", worker)));
        spans.push(Span { error: failure(), ..span("train", started_at, run.finished_at, attributes) });
    }
    if let Some(version) = run.version {
        let attributes = vec![("driftline.version", Attribute::Number(version))];
        // One transaction registers the version and ends the run.
        spans.push(span("register", run.finished_at, run.finished_at, attributes));
    }
    spans
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_run_is_one_trace_named_by_its_id() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let run = FinishedRun {
            id: Uuid::from_u128(7),
            model: "m".to_owned(),
            state: "succeeded".to_owned(),
            reason_kind: "rule".to_owned(),
            reason: "FeatureDrift".to_owned(),
            outcome: Some("deep beats linear".to_owned()),
            version: Some(3),
            attempt: 1,
            worker: Some("w".to_owned()),
            created_at: at(10),
            started_at: Some(at(20)),
            finished_at: at(50),
            finished: 50_000_000,
        };
        let told = spans(&run);
        let names: Vec<&str> = told.iter().map(|span| span.name).collect();
        assert_eq!(names, ["retrain", "queue", "train", "register"]);
        assert!(told.iter().all(|span| span.trace == *run.id.as_bytes()));
        assert!(told[1..].iter().all(|span| span.parent == Some(told[0].id)));
        assert_eq!((told[1].start, told[1].end, told[2].end), (at(10), at(20), at(50)));
        assert_eq!(told, spans(&run));
        let failed = FinishedRun { state: "failed".to_owned(), version: None, started_at: None, ..run };
        let told = spans(&failed);
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].error.as_deref(), Some("deep beats linear"));
    }
}
