//! What every source has in common: its name, the entrance, its counters, and what is said of messages that are no use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::metrics::SourceMetrics;
use crate::model::ModelName;
use crate::tap::ingest::{Content, FORMAT, Ingest, IngestError, Message, Position, Room, Stored};

/// First wait after a refusal.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Refusals that are logged one by one; after them only every power of two.
const LOGGED: u64 = 10;

/// Waits that double up to a bound; each is drawn from its upper half, so that replicas do not come back together.
#[derive(Debug, Clone, Copy)]
pub(in crate::tap) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_WAIT }
    }
}

impl Backoff {
    /// The wait before the next attempt.
    pub(in crate::tap) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST_WAIT);
        // A new hasher has new keys, which is as much chance as this needs.
        let draw = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ()) % 512;
        whole / 2 + whole * u32::try_from(draw).unwrap_or(0) / 1024
    }

    /// Starts from the shortest wait again.
    pub(in crate::tap) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// One source's way into the database.
#[derive(Debug)]
pub(in crate::tap) struct Feed {
    name: Arc<str>,
    model: Option<ModelName>,
    format: Option<String>,
    ingest: Ingest,
    metrics: SourceMetrics,
    now: fn() -> DateTime<Utc>,
    refused: AtomicU64,
}

impl Feed {
    pub(in crate::tap) fn new(
        name: &str,
        model: Option<ModelName>,
        format: Option<String>,
        ingest: Ingest,
        metrics: SourceMetrics,
        now: fn() -> DateTime<Utc>,
    ) -> Self {
        let label = &[name];
        // So that they are exported from the start.
        metrics.messages.with_label_values(label);
        metrics.bytes.with_label_values(label);
        metrics.duplicates.with_label_values(label);
        metrics.redelivered.with_label_values(label);
        metrics.reconnects.with_label_values(label);
        metrics.connected.with_label_values(label).set(0);
        Self { name: name.into(), model, format, ingest, metrics, now, refused: AtomicU64::new(0) }
    }

    /// The name of the source.
    pub(in crate::tap) fn name(&self) -> &str {
        &self.name
    }

    /// The model of messages that name none.
    pub(in crate::tap) fn model(&self) -> Option<&ModelName> {
        self.model.as_ref()
    }

    /// The format that the settings say messages have.
    pub(in crate::tap) fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// `headers` with the format that the settings say; a message cannot say it itself.
    pub(in crate::tap) fn formatted(&self, mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
        headers.retain(|(name, _)| name != FORMAT);
        headers.extend(self.format().map(|format| (FORMAT.to_owned(), format.to_owned())));
        headers
    }

    /// The present.
    pub(in crate::tap) fn now(&self) -> DateTime<Utc> {
        (self.now)()
    }

    /// When a message arrived: at the broker where that says so, unless its clock is ahead of ours.
    pub(in crate::tap) fn arrival(&self, at_broker: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let now = self.now();
        at_broker.filter(|at| *at <= now && *at > DateTime::UNIX_EPOCH).unwrap_or(now)
    }

    pub(in crate::tap) fn message(
        &self,
        key: Option<String>,
        position: Option<Position>,
        received_at: DateTime<Utc>,
        content: Content,
    ) -> Message {
        Message {
            source: Arc::clone(&self.name),
            key,
            position,
            model: self.model.clone(),
            received_at,
            content,
        }
    }

    /// The entrance.
    pub(in crate::tap) fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    /// Room for a message of so many bytes.
    ///
    /// # Errors
    ///
    /// [`IngestError`] when there is none.
    pub(in crate::tap) fn room(&self, bytes: usize) -> Result<Room, IngestError> {
        let mut room = self.ingest.room()?;
        room.grow(bytes)?;
        Ok(room)
    }

    /// Hands a message over once there is room for it, however long the database is away.
    ///
    /// # Errors
    ///
    /// [`IngestError`]: the process is ending.
    pub(in crate::tap) async fn submit(&self, message: Message) -> Result<Stored, IngestError> {
        let bytes = message.content.bytes();
        let mut backoff = Backoff::default();
        loop {
            match self.room(bytes) {
                Ok(room) => return self.ingest.submit_in(room, message).await,
                Err(IngestError::Busy) => tokio::time::sleep(backoff.wait()).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Counts a message that is stored; `place` names it within the source.
    pub(in crate::tap) fn stored(&self, stored: Stored, bytes: usize, place: &str) {
        let label = &[&*self.name];
        self.metrics.messages.with_label_values(label).inc();
        self.metrics.bytes.with_label_values(label).inc_by(bytes as u64);
        if stored.duplicate {
            self.metrics.duplicates.with_label_values(label).inc();
        }
        if stored.refused > 0 {
            self.refuse("undecodable", stored.refused as u64, place);
        }
    }

    /// Counts what could not be taken, and says where it is.
    pub(in crate::tap) fn refuse(&self, reason: &'static str, count: u64, place: &str) {
        self.metrics.refused.with_label_values(&[&*self.name, reason]).inc_by(count);
        let before = self.refused.fetch_add(1, Ordering::Relaxed);
        if before < LOGGED || (before + 1).is_power_of_two() {
            tracing::warn!(source = %self.name, reason, count, place, "a part of a source could not be taken");
        }
    }

    /// Counts what holds nothing to take.
    pub(in crate::tap) fn skip(&self, reason: &'static str, count: u64) {
        self.metrics.skipped.with_label_values(&[&*self.name, reason]).inc_by(count);
    }

    /// Counts a message that the broker gave out before.
    pub(in crate::tap) fn redelivered(&self) {
        self.metrics.redelivered.with_label_values(&[&*self.name]).inc();
    }

    /// Shows whether the source can be read.
    pub(in crate::tap) fn connected(&self, connected: bool) {
        self.metrics.connected.with_label_values(&[&*self.name]).set(i64::from(connected));
    }

    /// Counts a connection that was made anew.
    pub(in crate::tap) fn reconnected(&self) {
        self.metrics.reconnects.with_label_values(&[&*self.name]).inc();
    }

    /// Shows how many messages wait.
    pub(in crate::tap) fn lag_messages(&self, messages: u64) {
        let messages = i64::try_from(messages).unwrap_or(i64::MAX);
        self.metrics.lag_messages.with_label_values(&[&*self.name]).set(messages);
    }

    /// Shows how many bytes wait.
    pub(in crate::tap) fn lag_bytes(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.lag_bytes.with_label_values(&[&*self.name]).set(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_start_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.wait()).collect();
        for (wait, whole) in waits.iter().zip([100, 200, 400, 800, 1600, 3200]) {
            let whole = Duration::from_millis(whole);
            assert!(*wait >= whole / 2 && *wait <= whole, "{wait:?} of {whole:?}");
        }
        assert!(waits[19] >= LONGEST_WAIT / 2 && waits[19] <= LONGEST_WAIT);
        backoff.reset();
        assert!(backoff.wait() <= FIRST_WAIT);
    }
}
