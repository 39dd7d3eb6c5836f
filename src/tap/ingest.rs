//! The entrance for messages that are pushed, streamed or read from files: each is stored whole, once, or not at all.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::model::{Exchange, ModelName};

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
    /// Headers (lower-case names) and a body, to be read as [`crate::decode::events`] reads them.
    Wire {
        /// Headers of the message.
        headers: Vec<(String, String)>,
        /// Body of the message.
        body: Bytes,
    },
    /// Rows that are decoded already; privacy is still applied.
    Exchanges(Vec<Exchange>),
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
    /// Told once the message is stored.
    pub stored: oneshot::Sender<Stored>,
}

/// The entrance; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest {
    sender: mpsc::Sender<Waiting>,
}

impl Ingest {
    /// An entrance for `capacity` messages at once, and the end that stores them.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Waiting>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self { sender }, receiver)
    }

    /// Hands a message over and waits until it is stored: what returns `Ok` survives a crash.
    ///
    /// # Errors
    ///
    /// [`IngestError`] when it was not taken.
    pub async fn submit(&self, message: Message) -> Result<Stored, IngestError> {
        let (stored, outcome) = oneshot::channel();
        self.sender.try_send(Waiting { message, stored }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => IngestError::Busy,
            mpsc::error::TrySendError::Closed(_) => IngestError::Closed,
        })?;
        outcome.await.map_err(|_| IngestError::Closed)
    }
}
