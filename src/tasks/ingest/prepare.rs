//! From a message to what is to be counted of it: read, decoded, made private. For a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::half::{Alone, Content as Sided, Half, Made};
use super::private;
use crate::decode::events::{self, Event, EventFormat, LabelEvent, SideEvent};
use crate::decode::predictions::Submitted;
use crate::decode::{self, Headers, Naming, RawSide, Side};
use crate::model::{Exchange, ModelName};
use crate::privacy::Policy;
use crate::store::ingested::Key;
use crate::store::label::Label;
use crate::tap::Names;
use crate::tap::ingest::{
    AZURE, Content, EVENTS, FORMAT, MODEL_MESH, Message, Position, Room, Stored, Waiting,
};
use crate::tasks::catalog::Catalog;

/// How far an event may lie in the future; producers' clocks differ by less.
const FUTURE_LIMIT: TimeDelta = TimeDelta::minutes(5);

/// Status of an answer whose event tells none: loggers send only answers to predictions that were made.
const OK: u16 = 200;

/// A message was refused by the database for what it holds.
pub(super) const UNSTORABLE: &str = "unstorable";

/// A message that is ready to be stored, and whoever waits for it.
#[derive(Debug)]
pub(super) struct Entry {
    /// What is to be stored.
    pub prepared: Arc<Prepared>,
    /// Told once it is.
    pub stored: oneshot::Sender<Stored>,
    /// Held until then.
    pub room: Room,
}

/// What is to be stored of a message.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Where it comes from.
    pub source: Arc<str>,
    /// Names the message.
    pub key: Option<Key>,
    /// Where the source stands after it.
    pub position: Option<Position>,
    /// What it holds of monitored models.
    pub items: Vec<Keyed>,
    /// Items that belong to no monitored model.
    pub unmonitored: usize,
    /// Items that could not be read, and of which no model is known.
    pub refused: usize,
}

/// An item, and what names it within its source.
#[derive(Debug)]
pub(super) struct Keyed {
    /// With it the item counts once, whatever message brings it.
    pub key: Option<Key>,
    /// The model.
    pub model: ModelName,
    /// It had a time that is not believed.
    pub time_invalid: bool,
    /// The item.
    pub item: Item,
}

/// What is to be counted.
#[derive(Debug)]
pub(super) enum Item {
    /// A whole exchange, or the reason why it is lost.
    Made(Box<Made>),
    /// One side of an exchange, and the hash of what it shares with the other.
    Side(Key, Arc<Half>),
    /// A true outcome.
    Label(Box<Label>),
}

/// What messages are prepared with.
#[derive(Debug)]
pub(super) struct Preparation {
    pub names: Arc<Names>,
    pub catalog: Arc<Catalog>,
    pub event_age: Duration,
}

/// A hash of `parts`, each with its length.
pub(super) fn key(parts: &[&str]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut key = Key::default();
    key.copy_from_slice(&digest[..size_of::<Key>()]);
    key
}

impl Preparation {
    /// Reads everything that `waiting` holds.
    pub(super) fn prepare(&self, waiting: Waiting) -> Entry {
        let Waiting { message, stored, room } = waiting;
        Entry { prepared: Arc::new(self.message(message)), stored, room }
    }

    fn message(&self, message: Message) -> Prepared {
        let Message { source, key: named, position, model, received_at, content } = message;
        let mut reading = Reading {
            preparation: self,
            source: &source,
            of_message: model.as_ref(),
            received_at,
            oldest: [EVENTS, AZURE, MODEL_MESH].contains(&&*source).then_some(self.event_age),
            items: Vec::new(),
            unmonitored: 0,
            refused: 0,
        };
        match content {
            Content::Wire { headers, body } => match events::read(&headers, &body, format(&headers).as_ref())
            {
                Ok(read) => {
                    for refused in &read.refused {
                        reading.refuse(refused.reason);
                    }
                    for event in read.events {
                        reading.event(event);
                    }
                }
                Err(failure) => reading.refuse(failure.reason()),
            },
            Content::Events(events) => {
                for event in events {
                    reading.event(event);
                }
            }
            Content::Exchanges(exchanges) => {
                for exchange in exchanges {
                    reading.whole(exchange);
                }
            }
        }
        let Reading { items, unmonitored, refused, .. } = reading;
        let key = named.map(|named| key(&["message", &named]));
        Prepared { source, key, position, items, unmonitored, refused }
    }
}

/// The format that a source says its messages have.
fn format(headers: &[(String, String)]) -> Option<EventFormat> {
    headers.iter().find(|(name, _)| name == FORMAT).and_then(|(_, format)| format.parse().ok())
}

/// A message that is being read.
struct Reading<'p> {
    preparation: &'p Preparation,
    source: &'p str,
    of_message: Option<&'p ModelName>,
    received_at: DateTime<Utc>,
    /// Age past which times are not believed.
    oldest: Option<Duration>,
    items: Vec<Keyed>,
    unmonitored: usize,
    refused: usize,
}

impl Reading<'_> {
    fn model(&mut self, named: Option<&str>) -> Option<ModelName> {
        let model = self.preparation.names.find(named, self.of_message).cloned();
        if model.is_none() {
            self.unmonitored += 1;
        }
        model
    }

    fn naming(&self, model: &ModelName) -> Arc<Naming> {
        self.preparation.catalog.get(model).map(|entry| Arc::clone(&entry.naming)).unwrap_or_default()
    }

    fn policy(&self, model: &ModelName) -> Arc<Policy> {
        self.preparation.catalog.get(model).map(|entry| Arc::clone(&entry.policy)).unwrap_or_default()
    }

    /// The time if it is believed, and whether there was another one.
    fn believe(&self, time: Option<DateTime<Utc>>) -> (Option<DateTime<Utc>>, bool) {
        let Some(time) = time else { return (None, false) };
        let oldest = self.oldest.and_then(|age| TimeDelta::from_std(age).ok());
        let too_old = oldest.is_some_and(|age| time < self.received_at - age);
        if too_old || time > self.received_at + FUTURE_LIMIT { (None, true) } else { (Some(time), false) }
    }

    /// An item that could not be read; lost where its model is known.
    fn refuse(&mut self, reason: &str) {
        match self.of_message.and_then(|model| self.preparation.names.find(None, Some(model))) {
            Some(model) => {
                let item = Item::Made(Box::new(Made::Lost(self.received_at, reason.to_owned())));
                self.items.push(Keyed { key: None, model: model.clone(), time_invalid: false, item });
            }
            None => self.refused += 1,
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Side(side) => self.side(&side),
            Event::Both { request, response } => self.both(&request, &response),
            Event::Rows(rows) => self.rows(*rows),
            Event::Label(label) => self.label(&label),
        }
    }

    /// A label; what names it in the database makes it count once, whatever message brings it.
    fn label(&mut self, label: &LabelEvent) {
        let Some(model) = self.model(label.model.as_deref()) else { return };
        let item = Item::Label(Box::new(Label::of_event(label, self.received_at)));
        self.items.push(Keyed { key: None, model, time_invalid: false, item });
    }

    fn whole(&mut self, mut exchange: Exchange) {
        let Some(model) = self.model(Some(exchange.model.as_str())) else { return };
        let (time, time_invalid) = self.believe(Some(exchange.event_time));
        exchange.event_time = time.unwrap_or(self.received_at);
        exchange.model = model.clone();
        self.policy(&model).apply(&mut exchange);
        self.made(None, model, time_invalid, Made::Exchange(exchange, Vec::new()));
    }

    fn rows(&mut self, rows: Submitted) {
        let Some(model) = self.model(Some(rows.model.as_str())) else { return };
        let (time, time_invalid) = self.believe(rows.time);
        let key = rows.id.as_ref().map(|id| key(&["rows", model.as_str(), id]));
        let mut exchange = Exchange {
            id: rows.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            model: model.clone(),
            model_version: rows.model_version,
            event_time: time.unwrap_or(self.received_at),
            batch: rows.batch,
            other_ids: Vec::new(),
        };
        self.policy(&model).apply(&mut exchange);
        self.made(key, model, time_invalid, Made::Exchange(exchange, Vec::new()));
    }

    fn made(&mut self, key: Option<Key>, model: ModelName, time_invalid: bool, made: Made) {
        self.items.push(Keyed { key, model, time_invalid, item: Item::Made(Box::new(made)) });
    }

    /// Whether ids of this source are used again for other exchanges.
    fn reuses_ids(&self) -> bool {
        self.source == MODEL_MESH
    }

    fn side(&mut self, event: &SideEvent) {
        let Some(model) = self.model(event.model.as_deref()) else { return };
        let (half, time_invalid) = self.half(event, &model);
        if event.pair.is_empty() {
            let made = half.alone(&model, Alone::Missing);
            self.made(None, model, time_invalid, made);
            return;
        }
        let pair = key(&["pair", &event.pair]);
        let own = match event.side {
            Side::Request => "request",
            Side::Response => "response",
        };
        let named = (!self.reuses_ids()).then(|| key(&["side", model.as_str(), &event.pair, own]));
        let item = Item::Side(pair, Arc::new(half));
        self.items.push(Keyed { key: named, model, time_invalid, item });
    }

    fn both(&mut self, request: &SideEvent, response: &SideEvent) {
        let named = request.model.as_deref().or(response.model.as_deref());
        let Some(model) = self.model(named) else { return };
        let (asked, request_time) = self.half(request, &model);
        let (answered, response_time) = self.half(response, &model);
        let time_invalid = request_time || response_time;
        let known = !request.pair.is_empty() && !self.reuses_ids();
        let named = known.then(|| key(&["both", model.as_str(), &request.pair]));
        let made = asked.with(answered, &model);
        self.made(named, model, time_invalid, made);
    }

    /// One side, decoded and made private, and whether it had a time that is not believed.
    fn half(&self, event: &SideEvent, model: &ModelName) -> (Half, bool) {
        let naming = self.naming(model);
        let raw =
            RawSide { route: &event.route, headers: &event.headers, body: &event.body, truncated: false };
        let policy = self.policy(model);
        let (content, body_id, body_time) = match event.side {
            Side::Request => {
                let mut read =
                    decode::decode_request(&raw, &naming).map_err(|failure| failure.reason().to_owned());
                let said = read.as_mut().map_or((None, None), |side| {
                    private::parts(&policy, &mut side.parts);
                    private::version(&policy, &mut side.model_version);
                    (side.body_id.take(), side.event_time.take())
                });
                (Sided::Request(read), said.0, said.1)
            }
            Side::Response => {
                let status = event.status.unwrap_or(OK);
                let mut read = decode::decode_response(&raw, status, &naming)
                    .map_err(|failure| failure.reason().to_owned());
                let said = read.as_mut().map_or((None, None), |side| {
                    private::parts(&policy, &mut side.parts);
                    private::version(&policy, &mut side.model_version);
                    (side.body_id.take(), side.event_time.take())
                });
                (Sided::Response(read), said.0, said.1)
            }
        };
        let (time, time_invalid) = self.believe(event.time.or(body_time));
        let id = event.id.clone().or_else(|| {
            let id =
                decode::exchange_id(&event.headers, &Headers::default(), body_id.as_deref(), String::new);
            (!id.is_empty()).then_some(id)
        });
        let sender = [&event.headers, &Headers::default()];
        let mut other_ids = decode::other_ids(sender, body_id.as_deref(), id.as_deref().unwrap_or_default());
        other_ids.extend(event.other_ids.iter().cloned());
        let other_ids = other_ids.iter().map(|id| policy.id(id).into_owned()).collect();
        let id = id.map(|id| policy.id(&id).into_owned());
        (Half { id, other_ids, time, received_at: self.received_at, content }, time_invalid)
    }
}

/// What is left of a message that the database refuses for what it holds: the loss of its items.
pub(super) fn given_up(prepared: &Prepared) -> Prepared {
    let labels = prepared.items.iter().filter(|keyed| matches!(keyed.item, Item::Label(_))).count();
    let lost = |keyed: &Keyed| {
        let time = match &keyed.item {
            Item::Made(made) => match made.as_ref() {
                Made::Exchange(exchange, _) => exchange.event_time,
                Made::Lost(time, _) => *time,
            },
            Item::Side(_, half) => half.event_time(),
            // No prediction is lost with it.
            Item::Label(_) => return None,
        };
        let item = Item::Made(Box::new(Made::Lost(time, UNSTORABLE.to_owned())));
        Some(Keyed { key: keyed.key, model: keyed.model.clone(), time_invalid: keyed.time_invalid, item })
    };
    Prepared {
        source: Arc::clone(&prepared.source),
        key: prepared.key,
        position: prepared.position.clone(),
        items: prepared.items.iter().filter_map(lost).collect(),
        unmonitored: prepared.unmonitored,
        refused: prepared.refused + labels,
    }
}
