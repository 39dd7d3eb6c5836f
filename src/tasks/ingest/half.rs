//! One side of an exchange, decoded and after privacy: what waits for the other side, and what the two make together.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decode::{self, Naming, RequestSide, ResponseSide, Side};
use crate::model::{Exchange, ModelName};

/// Written before an encoded side, so that a later form can be told from this one.
const FORM: u8 = 1;

/// Why an answer means that there was no prediction.
const ERROR_STATUS: &str = "error_status";
/// A side was stored in a form that this build does not read, or is damaged.
pub(super) const UNREADABLE: &str = "pending_unreadable";

/// Why a side is without the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    /// It has nothing by which the other could be found, or has waited for it in vain.
    Missing,
    /// There was no room for it to wait.
    Overflow,
}

impl Alone {
    /// What a request is noted with, whose features are kept.
    fn note(self) -> &'static str {
        match self {
            Self::Missing => "response_missing",
            Self::Overflow => "pending_overflow",
        }
    }

    /// What an answer is lost for: without inputs there is nothing to compare.
    fn loss(self) -> &'static str {
        match self {
            Self::Missing => "request_missing",
            Self::Overflow => "pending_overflow",
        }
    }
}

/// One side of an exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Half {
    /// The id of the prediction, as far as this side tells.
    pub id: Option<String>,
    /// Its further ids.
    #[serde(default)]
    pub other_ids: Vec<String>,
    /// When it happened, as far as it is believed.
    pub time: Option<DateTime<Utc>>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// Its columns, or the reason why it has none.
    pub content: Content,
}

/// The columns of a side, or the reason why there are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// What the client sent.
    Request(Result<RequestSide, String>),
    /// What the model server answered.
    Response(Result<ResponseSide, String>),
}

/// What one or two sides make.
#[derive(Debug)]
pub(super) enum Made {
    /// An exchange to be counted, and what was odd about it.
    Exchange(Exchange, Vec<(&'static str, u64)>),
    /// An exchange that is lost, and why.
    Lost(DateTime<Utc>, String),
}

impl Made {
    /// Whether there is something to count.
    pub(super) fn is_exchange(&self) -> bool {
        matches!(self, Self::Exchange(..))
    }
}

impl Half {
    /// Which side it is.
    pub(super) fn side(&self) -> Side {
        match self.content {
            Content::Request(_) => Side::Request,
            Content::Response(_) => Side::Response,
        }
    }

    /// Its stored form; absent when it cannot be written, which no value of a column causes.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![FORM];
        serde_json::to_writer(&mut bytes, self).ok()?;
        Some(bytes)
    }

    /// Reads a stored form.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, content) = bytes.split_first()?;
        if *form == FORM { serde_json::from_slice(content).ok() } else { None }
    }

    /// When it happened, or arrived.
    pub(super) fn event_time(&self) -> DateTime<Utc> {
        self.time.unwrap_or(self.received_at)
    }

    /// What the side makes without the other: features and a note, or the loss of an answer for `why`.
    pub(super) fn alone(self, model: &ModelName, why: Alone) -> Made {
        match self.content {
            Content::Request(_) => {
                let mut made = join(self, None, model);
                if let Made::Exchange(_, notes) = &mut made {
                    notes.push((why.note(), 1));
                }
                made
            }
            Content::Response(Err(ref reason)) if reason == ERROR_STATUS => {
                Made::Lost(self.event_time(), ERROR_STATUS.to_owned())
            }
            Content::Response(_) => Made::Lost(self.event_time(), why.loss().to_owned()),
        }
    }

    /// What the side makes with the other one of its exchange.
    pub(super) fn with(self, other: Self, model: &ModelName) -> Made {
        match (&self.content, &other.content) {
            (Content::Request(_), Content::Response(_)) => join(self, Some(other), model),
            (Content::Response(_), Content::Request(_)) => join(other, Some(self), model),
            _ => Made::Lost(self.event_time(), UNREADABLE.to_owned()),
        }
    }
}

fn join(request: Half, response: Option<Half>, model: &ModelName) -> Made {
    let answered = response.as_ref().and_then(|response| response.time);
    let event_time = request.time.or(answered).unwrap_or(request.received_at);
    let lost = |reason: String| Made::Lost(event_time, reason);
    let mut ids = request.other_ids;
    let (answer_id, answer) = match response {
        None => (None, None),
        Some(Half { id, other_ids, content: Content::Response(answer), .. }) => {
            ids.extend(other_ids);
            (id, Some(answer))
        }
        Some(_) => return lost(UNREADABLE.to_owned()),
    };
    if matches!(&answer, Some(Err(reason)) if reason == ERROR_STATUS) {
        return lost(ERROR_STATUS.to_owned());
    }
    let columns = match request.content {
        Content::Request(Ok(columns)) => columns,
        Content::Request(Err(reason)) => return lost(reason),
        Content::Response(_) => return lost(UNREADABLE.to_owned()),
    };
    let undecoded = matches!(&answer, Some(Err(_)));
    // Names were given when the sides were read; others now could bring to light what privacy did not know of.
    let naming = Naming::default();
    let decoded = match decode::join(columns, answer.and_then(Result::ok).map(Ok), &naming) {
        Ok(decoded) => decoded,
        Err(failure) => return lost(failure.reason().to_owned()),
    };
    let mut notes: Vec<(&'static str, u64)> = decoded.notes.each().collect();
    if undecoded {
        notes.push(("response_undecoded", 1));
    }
    ids.extend(answer_id.clone());
    let id = request.id.or(answer_id).unwrap_or_else(|| Uuid::now_v7().to_string());
    let mut other_ids: Vec<String> = Vec::with_capacity(ids.len());
    for other in ids {
        if other != id && !other_ids.contains(&other) {
            other_ids.push(other);
        }
    }
    let exchange = Exchange {
        id,
        model: model.clone(),
        model_version: decoded.model_version,
        event_time,
        batch: decoded.batch,
        other_ids,
    };
    Made::Exchange(exchange, notes)
}
