//! Everything that predictions are read from beside the proxy: brokers and files, each on its own.

use std::sync::Arc;

use anyhow::Context;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::files::Files;
use super::ingest::Ingest;
#[cfg(feature = "kafka")]
use super::stream::Kafka;
use super::stream::feed::Feed;
use super::stream::{Nats, Rabbit};
use crate::config::SourceSettings;
use crate::metrics::Metrics;

/// Names that the HTTP endpoints store their messages under.
const TAKEN: [&str; 4] = ["predictions", "events", "azure", "modelmesh"];

/// What all sources are given.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// Where messages go.
    pub ingest: Ingest,
    /// What is counted.
    pub metrics: Metrics,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
}

enum Kind {
    Nats(Nats),
    Rabbit(Rabbit),
    #[cfg(feature = "kafka")]
    Kafka(Kafka),
    Files(Files),
}

/// The sources of the settings.
#[derive(Default)]
pub struct Sources {
    sources: Vec<(String, Kind)>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sources.iter().map(|(name, _)| name)).finish()
    }
}

impl Sources {
    /// Sets up the sources of `settings`: reads secrets, checks patterns; connects to nothing.
    ///
    /// # Errors
    ///
    /// Every source that cannot be set up, with the remedy.
    pub fn build(settings: &[SourceSettings], context: &SourceContext) -> Result<Self, Vec<String>> {
        let mut sources = Vec::new();
        let mut problems = Vec::new();
        for source in settings {
            let name = source.name.as_str();
            if TAKEN.contains(&name) {
                problems.push(format!("source `{name}`: the name is that of an endpoint; take another"));
                continue;
            }
            let feed = Feed::new(
                name,
                source.model.clone(),
                source.format.clone(),
                context.ingest.clone(),
                context.metrics.source.clone(),
                context.now,
            );
            match Kind::build(source, Arc::new(feed)) {
                Ok(kind) => sources.push((name.to_owned(), kind)),
                Err(problem) => problems.push(format!("source `{name}`: {problem}")),
            }
        }
        if problems.is_empty() { Ok(Self { sources }) } else { Err(problems) }
    }

    /// Reads all sources until `stop`, then waits for what was handed over; `db` has the positions of files.
    ///
    /// # Errors
    ///
    /// A source that panicked or ended before it was asked to.
    pub async fn run(self, db: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
        if self.sources.is_empty() {
            stop.cancelled().await;
            return Ok(());
        }
        let mut running = JoinSet::new();
        for (name, kind) in self.sources {
            let (db, stop) = (db.clone(), stop.clone());
            running.spawn(async move {
                kind.run(db, stop.clone()).await.with_context(|| format!("source `{name}`"))?;
                anyhow::ensure!(stop.is_cancelled(), "source `{name}` ended before shutdown");
                Ok(())
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.context("a source panicked")??;
        }
        Ok(())
    }
}

impl Kind {
    fn build(settings: &SourceSettings, feed: Arc<Feed>) -> Result<Self, String> {
        if let Some(nats) = &settings.nats {
            Nats::build(nats.clone(), feed).map(Self::Nats)
        } else if let Some(rabbitmq) = &settings.rabbitmq {
            Rabbit::build(rabbitmq.clone(), feed).map(Self::Rabbit)
        } else if let Some(files) = &settings.files {
            Files::build(files.clone(), feed, &host()).map(Self::Files)
        } else if let Some(kafka) = &settings.kafka {
            #[cfg(feature = "kafka")]
            return Kafka::build(kafka.clone(), feed).map(Self::Kafka);
            #[cfg(not(feature = "kafka"))]
            Err(format!(
                "this build cannot read `kafka` (topics {}): build driftline with `cargo build --features kafka`, which \
                 also builds librdkafka, or take another kind of source",
                kafka.topics.join(", ")
            ))
        } else {
            Err("it is of no kind; add one of `nats`, `rabbitmq`, `kafka` and `files`".to_owned())
        }
    }

    async fn run(self, db: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
        match self {
            Self::Nats(nats) => nats.run(stop).await,
            Self::Rabbit(rabbit) => rabbit.run(stop).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => kafka.run(stop).await,
            Self::Files(files) => return files.run(db, stop).await,
        }
        Ok(())
    }
}

/// The name of this host: files that replicas do not share are theirs by it.
fn host() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let read = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    named.or_else(read).map_or_else(|| "localhost".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn context() -> SourceContext {
        let (ingest, _receiver) = Ingest::new(1);
        SourceContext { ingest, metrics: Metrics::new().unwrap(), now: || DateTime::UNIX_EPOCH }
    }

    fn problems(sources: &str) -> Vec<String> {
        let settings = Settings::parse(&format!("sources:\n{sources}"), "s").unwrap();
        Sources::build(&settings.sources, &context()).unwrap_err()
    }

    #[tokio::test]
    async fn everything_that_is_wrong_is_said_at_start() {
        let problems = problems(
            "  - {name: events, files: {paths: [x]}}
  - {name: glob, files: {paths: ['a/***']}}
  - {name: creds, nats: {url: 'nats://h', stream: s, consumer: c, credentials_file: /nowhere/creds}}
  - {name: url, rabbitmq: {url_file: /nowhere/url, queue: q}}
",
        );
        let expected = ["name is that of an endpoint", "is no pattern", "`/nowhere/creds`", "`/nowhere/url`"];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[cfg(not(feature = "kafka"))]
    #[tokio::test]
    async fn without_kafka_it_says_how_to_build_it() {
        let problems = problems("  - {name: k, kafka: {brokers: [h], topics: [t], group: g}}\n");
        assert!(
            problems[0].contains("source `k`") && problems[0].contains("--features kafka"),
            "{problems:?}"
        );
    }
}
