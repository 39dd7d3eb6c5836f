//! Events of payload loggers, collectors and capture files: one message into the exchanges, sides and labels it holds.

mod azure;
mod bentoml;
mod cloud;
mod debezium;
mod feedback;
mod labels;
mod lines;
mod loggers;
mod raw;
mod read;
mod sagemaker;

use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};

pub use self::bentoml::{MonitorLog, MonitorSchema};
pub use self::debezium::LabelColumns;
pub use self::feedback::labels_of_feedback;
pub use self::labels::{LabelTarget, parse_label};
pub use self::read::read;
use super::predictions::Submitted;
use super::{Headers, Route, Side};

/// Bytes that the bodies of one message may have together once they are decompressed.
pub const MAX_INFLATED: usize = 64 << 20;

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

/// One side of an exchange, with its body decompressed and otherwise as it stood on the wire.
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
    /// Kept headers of the message; ids that have a header of their own are among them.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
    /// When it happened.
    pub time: Option<DateTime<Utc>>,
    /// Status of the answer, when the event tells.
    pub status: Option<u16>,
    /// The id of the prediction, where the event has one that labels use.
    pub id: Option<String>,
    /// Further ids of the prediction, which no header carries.
    pub other_ids: Vec<String>,
}

/// A true outcome, with whatever finds its prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelEvent {
    /// The model, when the event names it.
    pub model: Option<String>,
    /// Which prediction it belongs to.
    pub target: LabelTarget,
    /// The outcome: a number, a truth value or text; where several columns are predicted, an object of them by name.
    pub value: serde_json::Value,
    /// When it became known.
    pub time: Option<DateTime<Utc>>,
}

/// What a message held.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Events {
    /// The events, in the order of the message.
    pub events: Vec<Event>,
    /// The items that could not be read, in the order of the message; their neighbours are not affected.
    pub refused: Vec<RefusedItem>,
}

/// An item that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedItem {
    /// Place of the item in the message, from 0; empty lines are not counted.
    pub index: usize,
    /// A short, stable word for the label of a metric.
    pub reason: &'static str,
    /// What is wrong; names fields, never their content.
    pub problem: String,
}

/// A format that the sender is known to use; without one, headers and body tell it item by item.
#[derive(Debug, Clone, PartialEq)]
pub enum EventFormat {
    /// `CloudEvents` in any mode: the loggers of `KServe` and Seldon, Azure's exported files.
    CloudEvents,
    /// Azure's data collector as its SDK sends to `/modeldata/log`.
    AzureCollector,
    /// `ModelMesh`'s payload processor.
    ModelMesh,
    /// Records of `KServe`'s logger on object storage.
    KserveBlob,
    /// `SageMaker`'s data capture and ground truth, told apart line by line.
    SageMaker,
    /// Monitor logs of `BentoML`.
    BentoMl(Arc<MonitorLog>),
    /// driftline's own predictions.
    Predictions,
    /// driftline's own labels.
    Labels,
    /// Seldon's feedback.
    SeldonFeedback,
    /// `{"request": …, "response": …}` with `id`, `model`, `time`, `path` and `status` beside them.
    Exchanges,
    /// Rows of an outcome table, in Debezium's envelope or without it, as labels.
    Debezium(Arc<LabelColumns>),
    /// The message is the request of a prediction, and headers name the pair: `x-request-id`, else `key`.
    Requests,
    /// The message is the answer to a prediction; see [`EventFormat::Requests`].
    Responses,
}

impl EventFormat {
    /// The words by which settings name a format.
    pub const NAMES: [&'static str; 13] = [
        "cloudevents",
        "azure",
        "modelmesh",
        "kserve_blob",
        "sagemaker",
        "bentoml",
        "predictions",
        "labels",
        "seldon_feedback",
        "exchanges",
        "debezium",
        "requests",
        "responses",
    ];
}

impl FromStr for EventFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "cloudevents" => Self::CloudEvents,
            "azure" => Self::AzureCollector,
            "modelmesh" => Self::ModelMesh,
            "kserve_blob" => Self::KserveBlob,
            "sagemaker" => Self::SageMaker,
            "bentoml" => Self::BentoMl(Arc::default()),
            "predictions" => Self::Predictions,
            "labels" => Self::Labels,
            "seldon_feedback" => Self::SeldonFeedback,
            "exchanges" => Self::Exchanges,
            "debezium" => Self::Debezium(Arc::default()),
            "requests" => Self::Requests,
            "responses" => Self::Responses,
            _ => return Err(format!("`{name}` is not a format; known are {}", Self::NAMES.join(", "))),
        })
    }
}

/// Why an item was refused, on its way to a [`RefusedItem`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    reason: &'static str,
    problem: String,
}

impl Refusal {
    fn new(reason: &'static str, problem: impl Into<String>) -> Self {
        Self { reason, problem: problem.into() }
    }

    fn missing(field: &str) -> Self {
        Self::new("missing_field", format!("`{field}` is absent or of another type"))
    }
}

#[cfg(test)]
mod tests;
