//! Events of payload loggers, collectors and capture files: one message into the exchanges, sides and labels it holds.

use chrono::{DateTime, Utc};

use super::predictions::Submitted;
use super::{Headers, Route, Side};

/// What one message of a logger, a broker or a capture file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// One side of an exchange; the other comes on its own, before or after.
    Side(SideEvent),
    /// Both sides together.
    Both {
        /// What the client sent.
        request: Box<SideEvent>,
        /// What the model server answered.
        response: Box<SideEvent>,
    },
    /// Rows that are columns already.
    Rows(Box<Submitted>),
    /// A true outcome.
    Label(LabelEvent),
}

/// One side of an exchange, with its body as it stood on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct SideEvent {
    /// Which side.
    pub side: Side,
    /// What both sides of the exchange have in common, within their source and model.
    pub pair: String,
    /// The model, when the event names it.
    pub model: Option<String>,
    /// Where the prediction was sent, as far as the event tells; else the body tells the protocol.
    pub route: Route,
    /// Kept headers of the message.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
    /// When it happened.
    pub time: Option<DateTime<Utc>>,
    /// Status of the answer, when the event tells.
    pub status: Option<u16>,
    /// The id of the prediction, where the event has one that labels use.
    pub id: Option<String>,
}

/// A true outcome, with whatever finds its prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelEvent {
    /// The model, when the event names it.
    pub model: Option<String>,
    /// Any id of the exchange, or of one of its rows.
    pub id: String,
    /// The row, where `id` is that of an exchange of many.
    pub row: Option<usize>,
    /// The outcome: a number, a truth value or text.
    pub value: serde_json::Value,
    /// When it became known.
    pub time: Option<DateTime<Utc>>,
}
