//! Files as a source: lines that are followed, documents and tables that are read once, positions in the database.

mod known;
mod lines;
mod monitor;
mod position;
mod read;
mod scan;
mod table;
mod track;
mod unpack;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{FixedOffset, TimeDelta};
use futures_util::StreamExt;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::known::Known;
use self::position::FilePosition;
use self::track::{Tracked, Work};
use crate::config::FileSource;
use crate::store::{self, StoreError};
use crate::tap::stream::feed::{Backoff, Feed};
use crate::tap::stream::pause;

/// Files that are read at once.
const AT_ONCE: usize = 16;

/// How often positions of files that are gone are looked for.
const FORGET_EVERY: Duration = Duration::from_hours(6);

/// How long the position of a file that is gone is kept.
const FORGET_AFTER: TimeDelta = TimeDelta::days(30);

/// How often a replica asks whether it may read a shared folder.
const LEAD_EVERY: Duration = Duration::from_secs(2);

/// How often a folder whose looking through takes long is looked at, in multiples of that time.
const SCAN_SHARE: u32 = 10;

/// The files of one source, ready to be read.
#[derive(Debug)]
pub(in crate::tap) struct Files {
    settings: FileSource,
    utc_offset: FixedOffset,
    feed: Arc<Feed>,
    /// Whose files these are: what all identities begin with.
    scope: String,
}

/// The files of one source, and the database with their positions.
struct Reader {
    files: Files,
    db: PgPool,
}

impl std::ops::Deref for Reader {
    type Target = Files;

    fn deref(&self) -> &Files {
        &self.files
    }
}

impl Files {
    /// Checks the patterns; opens nothing.
    ///
    /// # Errors
    ///
    /// A pattern that is none.
    pub(in crate::tap) fn build(settings: FileSource, feed: Arc<Feed>, host: &str) -> Result<Self, String> {
        for pattern in &settings.paths {
            scan::check(pattern)?;
        }
        let utc_offset = settings.utc_offset.parse().map_err(|_| {
            format!("`files.utc_offset` is `{}`, not an offset such as +01:00", settings.utc_offset)
        })?;
        let scope = if settings.shared { String::new() } else { format!("{host}/") };
        Ok(Self { settings, utc_offset, feed, scope })
    }

    /// Reads until `stop`.
    ///
    /// # Errors
    ///
    /// When reading a file panicked.
    pub(in crate::tap) async fn run(self, db: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
        Reader { files: self, db }.run(stop).await
    }
}

impl Reader {
    async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            let mut wait = None;
            let problem = match self.begin().await {
                Ok(Some((lead, positions))) => {
                    backoff.reset();
                    self.feed.connected(true);
                    self.rounds(lead, positions, &stop).await?;
                    self.feed.connected(false);
                    continue;
                }
                Ok(None) => {
                    wait = Some(LEAD_EVERY);
                    None
                }
                Err(error) => Some(error),
            };
            if let Some(error) = problem {
                tracing::warn!(source = self.feed.name(), %error, "positions cannot be read, files wait");
            }
            if !pause(&stop, wait.unwrap_or_else(|| backoff.wait())).await {
                break;
            }
        }
        Ok(())
    }

    /// The lead, where one is needed, and how far each file is read; none while another replica has the lead.
    async fn begin(&self) -> Result<Option<(Option<store::source_position::Lead>, Known)>, StoreError> {
        let lead = if self.settings.shared {
            match store::source_position::lead(&self.db, self.feed.name()).await? {
                Some(lead) => Some(lead),
                None => return Ok(None),
            }
        } else {
            None
        };
        let stored = store::source_position::all(&self.db, self.feed.name()).await?;
        let mut positions = BTreeMap::new();
        for (of, at) in stored.into_iter().filter(|(of, _)| of.starts_with(&self.scope)) {
            match at.parse::<FilePosition>() {
                Ok(position) => drop(positions.insert(of, position)),
                Err(position::Unreadable) => {
                    return Err(StoreError::Corrupt {
                        table: "source_position",
                        key: format!("{}, {of}", self.feed.name()),
                        problem:
                            "it is no position of a file; delete the row to read the file from its start"
                                .to_owned(),
                    });
                }
            }
        }
        Ok(Some((lead, Known::new(positions))))
    }

    /// Looks at the folders again and again, until `stop` or until the lead is lost.
    async fn rounds(
        &self,
        mut lead: Option<store::source_position::Lead>,
        mut known: Known,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut forget_at = Instant::now();
        while !stop.is_cancelled() {
            if let Some(lead) = &mut lead
                && !lead.holds().await
            {
                tracing::warn!(source = self.feed.name(), "the lead over shared files was lost");
                return Ok(());
            }
            let started = Instant::now();
            let patterns = self.settings.paths.clone();
            let scan = tokio::task::spawn_blocking(move || scan::scan(&patterns)).await?;
            if scan.left_out > 0 {
                self.feed.refuse("too_many_files", scan.left_out as u64, &self.settings.paths.join(", "));
            }
            if scan.unreadable > 0 {
                self.feed.refuse(
                    "unreadable_folder",
                    scan.unreadable as u64,
                    &self.settings.paths.join(", "),
                );
            }
            let now = Instant::now();
            known = self.reconcile(known, scan.files, now).await?;
            let scanning = now.duration_since(started);
            let (follow, settle) = (self.settings.follow, self.settings.settle.0);
            self.feed.lag_bytes(known.lag(follow));
            let (work, mut moved) =
                known.take(AT_ONCE * 4, |tracked| match tracked.work(follow, settle, now) {
                    Work::None => None,
                    work => Some(work),
                });
            let mut reading = futures_util::stream::iter(
                work.into_iter().map(|(tracked, work)| self.process(tracked, work, stop)),
            )
            .buffer_unordered(AT_ONCE);
            while let Some(done) = reading.next().await {
                let done = done?;
                moved |= done.moved;
                known.put(done.tracked);
            }
            drop(reading);
            self.feed.lag_bytes(known.lag(follow));
            known.bound_handles();
            if forget_at <= now && !stop.is_cancelled() {
                forget_at = now + FORGET_EVERY;
                self.forget(known.identities()).await;
            }
            // While there is more to read, there is no reason to wait.
            let wait = if moved { Duration::ZERO } else { self.settings.poll.0 };
            if !pause(stop, wait.max(scanning * SCAN_SHARE)).await {
                break;
            }
        }
        Ok(())
    }

    /// Brings what is known up to date with what a look gave; files are opened for it, hence the detour.
    async fn reconcile(
        &self,
        mut known: Known,
        files: Vec<scan::Found>,
        now: Instant,
    ) -> anyhow::Result<Known> {
        let (scope, format) = (self.scope.clone(), self.settings.format);
        let watched = (self.settings.follow, self.settings.settle.0);
        let known = tokio::task::spawn_blocking(move || {
            known.reconcile(&scope, format, watched, files, now);
            known
        });
        Ok(known.await?)
    }

    async fn forget(&self, present: Vec<String>) {
        let before = self.feed.now() - FORGET_AFTER;
        match store::source_position::forget(&self.db, self.feed.name(), &present, before).await {
            Ok(0) => {}
            Ok(positions) => {
                tracing::info!(source = self.feed.name(), positions, "positions of old files were forgotten");
            }
            Err(error) => {
                tracing::debug!(source = self.feed.name(), %error, "old positions were not looked for");
            }
        }
    }
}

/// A file that was worked on.
struct Processed {
    tracked: Tracked,
    /// Whether there may be more to read at once.
    moved: bool,
}
