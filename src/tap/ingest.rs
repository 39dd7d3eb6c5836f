//! The entrance for messages that are pushed, streamed or read from files: each is stored whole, once, or not at all.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::decode::events::Event;
use crate::metrics::{IngestMetrics, Metrics};
use crate::model::{Batch, Column, Exchange, ModelName, Value};

/// Source of predictions that are posted to `/v1/predictions`.
pub const PREDICTIONS: &str = "predictions";
/// Source of events that loggers post.
pub const EVENTS: &str = "events";
/// Source of what the collector of Azure ML posts.
pub const AZURE: &str = "azure";
/// Source of what `ModelMesh` posts; its ids are used again, so that none names a message for ever.
pub const MODEL_MESH: &str = "modelmesh";

/// The header by which a source tells the format of its messages, if it knows it.
pub const FORMAT: &str = "driftline-format";

/// Bytes that messages may take unless told otherwise.
const DEFAULT_BYTES: usize = 64 << 20;
/// What a message takes besides its content.
const OVERHEAD_BYTES: usize = 512;

/// One message on its way into the database.
#[derive(Debug)]
pub struct Message {
    /// Where it comes from: the name of a source in the settings, or of an endpoint.
    pub source: Arc<str>,
    /// Names the message within its source for ever; with it a second delivery counts once.
    pub key: Option<String>,
    /// Where the source stands after this message; written in the same transaction.
    pub position: Option<Position>,
    /// The model of events that name none.
    pub model: Option<ModelName>,
    /// When it arrived, which is the time of events that have none.
    pub received_at: DateTime<Utc>,
    /// What it holds.
    pub content: Content,
}

/// A place in a source, such as an offset in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// What moves: a file, a partition.
    pub of: String,
    /// How far it is read, in words of the source.
    pub at: String,
}

/// What a message holds.
#[derive(Debug)]
pub enum Content {
    /// Headers (lower-case names) and a body, to be read as [`crate::decode::events`] reads them; a header called
    /// [`FORMAT`] tells the format as settings name it.
    Wire {
        /// Headers of the message.
        headers: Vec<(String, String)>,
        /// Body of the message.
        body: Bytes,
    },
    /// Events that are read already; their bodies are still to be decoded.
    Events(Vec<Event>),
    /// Rows that are decoded already; privacy is still applied.
    Exchanges(Vec<Exchange>),
}

impl Content {
    /// Bytes that it takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Wire { headers, body } => {
                body.len() + headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            }
            Self::Events(events) => events.iter().map(event_bytes).sum(),
            Self::Exchanges(exchanges) => {
                exchanges.iter().map(|exchange| OVERHEAD_BYTES + batch_bytes(&exchange.batch)).sum()
            }
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    OVERHEAD_BYTES
        + match event {
            Event::Side(side) => side.body.len(),
            Event::Both { request, response } => request.body.len() + response.body.len(),
            Event::Rows(rows) => batch_bytes(&rows.batch),
            Event::Label(_) => 0,
        }
}

fn batch_bytes(batch: &Batch) -> usize {
    let value = |value: &Value| match value {
        Value::Text(text) => text.len() + size_of::<Value>(),
        _ => size_of::<Value>(),
    };
    let column = |column: &Column| column.name.len() + column.values.iter().map(value).sum::<usize>();
    batch.features.iter().chain(&batch.outputs).map(column).sum()
}

/// What became of a message that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// It was stored before, and is not counted again.
    pub duplicate: bool,
    /// Exchanges and sides that were taken.
    pub taken: usize,
    /// Items that could not be taken; each is counted with its reason.
    pub refused: usize,
}

/// Why a message was not taken; nothing of it is stored, and it may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IngestError {
    /// What waits for the database has reached its bound.
    #[error("too much waits for the database; try again later")]
    Busy,
    /// The process is ending.
    #[error("driftline is shutting down")]
    Closed,
}

/// A message, and whoever waits for it to be stored.
#[derive(Debug)]
pub struct Waiting {
    /// The message.
    pub message: Message,
    /// Told once the message is stored; nobody listens any more when the message was withdrawn.
    pub stored: oneshot::Sender<Stored>,
    /// The room that it takes until it is stored.
    pub room: Room,
}

#[derive(Debug, Default)]
struct Used {
    messages: usize,
    bytes: usize,
}

/// How much may wait at once, what does not yet lie in the channel included.
#[derive(Debug)]
struct Budget {
    messages: usize,
    bytes: usize,
    used: Mutex<Used>,
    metrics: Option<IngestMetrics>,
}

impl Budget {
    fn show(&self, used: &Used) {
        if let Some(metrics) = &self.metrics {
            metrics.waiting_messages.set(i64::try_from(used.messages).unwrap_or(i64::MAX));
            metrics.waiting_bytes.set(i64::try_from(used.bytes).unwrap_or(i64::MAX));
        }
    }
}

/// Room for one message; given back when dropped.
#[derive(Debug)]
pub struct Room {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Room {
    /// Makes it larger by `bytes`. A message that is larger than everything that may wait is let in alone.
    ///
    /// # Errors
    ///
    /// [`IngestError::Busy`], and nothing taken, when the bytes are not left.
    pub fn grow(&mut self, bytes: usize) -> Result<(), IngestError> {
        let mut used = self.budget.used.lock();
        let alone = used.messages == 1;
        let total = used.bytes.checked_add(bytes).filter(|total| alone || *total <= self.budget.bytes);
        used.bytes = total.ok_or(IngestError::Busy)?;
        self.bytes += bytes;
        self.budget.show(&used);
        Ok(())
    }

    /// Makes it `bytes` large, if it is smaller.
    ///
    /// # Errors
    ///
    /// [`IngestError::Busy`], and nothing taken, when the bytes are not left.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), IngestError> {
        self.grow(bytes.saturating_sub(self.bytes))
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut used = self.budget.used.lock();
        used.messages -= 1;
        used.bytes -= self.bytes;
        self.budget.show(&used);
    }
}

/// The entrance; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest {
    sender: mpsc::Sender<Waiting>,
    budget: Arc<Budget>,
}

impl Ingest {
    /// An entrance for `capacity` messages at once, and the end that stores them.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Waiting>) {
        Self::build(capacity, DEFAULT_BYTES, None)
    }

    /// An entrance for `messages` of together `bytes` at once, which shows in `metrics` what waits.
    pub fn bounded(messages: usize, bytes: usize, metrics: &Metrics) -> (Self, mpsc::Receiver<Waiting>) {
        Self::build(messages, bytes, Some(metrics.ingest.clone()))
    }

    fn build(
        messages: usize,
        bytes: usize,
        metrics: Option<IngestMetrics>,
    ) -> (Self, mpsc::Receiver<Waiting>) {
        let (sender, receiver) = mpsc::channel(messages.max(1));
        let budget = Budget { messages, bytes, used: Mutex::default(), metrics };
        (Self { sender, budget: Arc::new(budget) }, receiver)
    }

    /// Room for one message, before any of it is read.
    ///
    /// # Errors
    ///
    /// [`IngestError`] when no further message may wait.
    pub fn room(&self) -> Result<Room, IngestError> {
        if self.sender.is_closed() {
            return Err(IngestError::Closed);
        }
        let mut used = self.budget.used.lock();
        if used.messages >= self.budget.messages || used.bytes >= self.budget.bytes {
            return Err(IngestError::Busy);
        }
        used.messages += 1;
        self.budget.show(&used);
        drop(used);
        let mut room = Room { budget: Arc::clone(&self.budget), bytes: 0 };
        room.grow(OVERHEAD_BYTES)?;
        Ok(room)
    }

    /// Hands a message over and waits until it is stored: what returns `Ok` survives a crash. A caller that stops
    /// waiting withdraws the message, unless it is being stored at that moment.
    ///
    /// # Errors
    ///
    /// [`IngestError`] when it was not taken.
    pub async fn submit(&self, message: Message) -> Result<Stored, IngestError> {
        let room = self.room().and_then(|mut room| {
            room.grow(message.content.bytes())?;
            Ok(room)
        });
        match room {
            Ok(room) => self.submit_in(room, message).await,
            Err(error) => {
                self.count_refused(&message.source, error);
                Err(error)
            }
        }
    }

    /// Like [`submit`](Self::submit), for a message whose room is taken already.
    ///
    /// # Errors
    ///
    /// [`IngestError`] when it was not taken.
    pub async fn submit_in(&self, room: Room, message: Message) -> Result<Stored, IngestError> {
        let (stored, outcome) = oneshot::channel();
        let source = Arc::clone(&message.source);
        let handed = self.sender.try_send(Waiting { message, stored, room });
        handed.map_err(|refused| {
            let error = match refused {
                mpsc::error::TrySendError::Full(_) => IngestError::Busy,
                mpsc::error::TrySendError::Closed(_) => IngestError::Closed,
            };
            self.count_refused(&source, error);
            error
        })?;
        outcome.await.map_err(|_| IngestError::Closed)
    }

    /// Counts a message of `source` for which there was no room.
    pub fn count_refused(&self, source: &str, error: IngestError) {
        if let (IngestError::Busy, Some(metrics)) = (error, &self.budget.metrics) {
            metrics.messages.with_label_values(&[source, "busy"]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Message {
        Message {
            source: Arc::from("s"),
            key: None,
            position: None,
            model: None,
            received_at: DateTime::UNIX_EPOCH,
            content: Content::Wire { headers: Vec::new(), body: Bytes::from(vec![0; bytes]) },
        }
    }

    #[test]
    fn room_is_bounded_in_messages_and_bytes_and_given_back() {
        let metrics = Metrics::new().unwrap();
        let (ingest, _receiver) = Ingest::bounded(2, 4096, &metrics);
        let mut first = ingest.room().unwrap();
        let second = ingest.room().unwrap();
        assert_eq!(ingest.room().unwrap_err(), IngestError::Busy, "a third message");
        assert_eq!(first.grow(4096).unwrap_err(), IngestError::Busy);
        first.grow(3000).unwrap();
        assert_eq!(metrics.ingest.waiting_bytes.get(), 3000 + 2 * 512);
        drop(second);
        first.grow(1 << 20).unwrap();
        assert_eq!(ingest.room().unwrap_err(), IngestError::Busy, "it is in there alone");
        drop(first);
        assert_eq!((metrics.ingest.waiting_messages.get(), metrics.ingest.waiting_bytes.get()), (0, 0));
        assert!(ingest.room().is_ok());
    }

    #[tokio::test]
    async fn a_message_holds_its_room_until_it_is_stored() {
        let metrics = Metrics::new().unwrap();
        let (ingest, mut receiver) = Ingest::bounded(8, 8192, &metrics);
        let (outcome, ()) = tokio::join!(ingest.submit(message(5000)), async {
            let waiting = receiver.recv().await.unwrap();
            assert_eq!(ingest.submit(message(5000)).await.unwrap_err(), IngestError::Busy);
            let Waiting { stored, room, .. } = waiting;
            stored.send(Stored { taken: 1, ..Stored::default() }).unwrap();
            drop(room);
        });
        assert_eq!(outcome.unwrap().taken, 1);
        assert_eq!(metrics.ingest.waiting_bytes.get(), 0);
        assert_eq!(metrics.ingest.messages.with_label_values(&["s", "busy"]).get(), 1);
        drop(receiver);
        assert_eq!(ingest.submit(message(1)).await.unwrap_err(), IngestError::Closed);
    }
}
