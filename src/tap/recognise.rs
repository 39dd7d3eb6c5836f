//! What a request is to the tap, in either protocol: whose prediction, under which id, and whether it is copied.

use chrono::{DateTime, TimeDelta, Utc};

use super::copy::BodyCopy;
use super::fields::Fields;
use super::ids::new_uuid;
use super::named::is_in_body;
use super::observe::{Account, Fate, Observing, Started, Unnamed, Whose, pick};
use super::proxy::Shared;
use super::queue::Reservation;
use super::record::{is_sampled, new_id};
use super::shed::keep_share;
use crate::decode::{Recognised, Route};
use crate::model::ModelName;

/// How far in the future an event may lie; clocks differ that much.
const FUTURE_LIMIT: TimeDelta = TimeDelta::minutes(5);
pub(super) const REQUEST_ID: &str = "x-request-id";
pub(super) const TRACEPARENT: &str = "traceparent";

/// The head of a request.
pub(super) struct Asked<'r, F> {
    pub(super) method: &'r str,
    /// Without the query.
    pub(super) path: &'r str,
    pub(super) fields: &'r F,
}

/// What is noted of a request, and what is added to it.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Nothing when it is none of a monitored model's predictions.
    pub(super) observing: Option<Box<Observing>>,
    /// The header to add to the request.
    pub(super) traceparent: Option<String>,
    /// The header to add to the request, and to repeat in its answer.
    pub(super) request_id: Option<String>,
}

/// Why there is no room for an exchange.
#[derive(Debug, Clone, Copy)]
enum Without {
    SampledOut,
    Dropped(&'static str),
}

impl Shared {
    /// What is to be noted of a request.
    pub(super) fn note<F: Fields>(&self, asked: &Asked<'_, F>, route_model: Option<&ModelName>) -> Noted {
        let Some((route, model)) = self.recognise(asked, route_model) else { return Noted::default() };
        let received_at = (self.settings.now)();
        let (event_time, invalid) = self.event_time(asked.fields, received_at);
        let ledger = &self.settings.ledger;
        let whose = match model {
            Some(model) => {
                let Some(account) = Account::open(ledger, &model, event_time) else {
                    return Noted::default();
                };
                if invalid {
                    account.without_event_time();
                }
                Whose::Known(account)
            }
            None => Whose::Unnamed(Box::new(Unnamed {
                ledger: ledger.clone(),
                protocol: route.protocol,
                event_time,
                is_event_time_invalid: invalid,
                unmonitored: self.settings.metrics.tap.unmonitored.clone(),
            })),
        };
        let is_unnamed = matches!(whose, Whose::Unnamed(_));
        let (traceparent, request_id) = self.identify(asked.fields, received_at);
        let queue = &self.settings.queue;
        let (fate, room) = if route.protocol.is_decoded() {
            let mut headers = pick(asked.fields);
            let added = [(TRACEPARENT, &traceparent), (REQUEST_ID, &request_id)];
            headers.add(added.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.as_bytes()))));
            let generated_id = headers.any_id().is_none().then(|| new_id(received_at));
            let id = headers.any_id().or(generated_id.as_deref()).unwrap_or_default();
            match self.room(id) {
                Ok(room) => (
                    Fate::Record(Started { route, received_at, event_time, headers, generated_id }),
                    Some(room),
                ),
                Err(Without::SampledOut) => (Fate::SampledOut, None),
                Err(Without::Dropped(reason)) => (Fate::Dropped(reason), None),
            }
        } else {
            (Fate::Dropped("unsupported_format"), None)
        };
        let copy = match room {
            Some(room) => BodyCopy::new(room, self.tap().body_limit.0),
            None => BodyCopy::unwanted(queue.reservation()),
        };
        let copy = if is_unnamed { copy.keeping_first() } else { copy };
        let observing = Observing::new(whose, fate, copy, queue.clone());
        Noted { observing: Some(Box::new(observing)), traceparent, request_id }
    }

    /// Room in the queue for the exchange of this id, or what becomes of it without.
    fn room(&self, id: &str) -> Result<Reservation, Without> {
        let sample = self.tap().sample.get();
        if !is_sampled(id, sample) {
            return Err(Without::SampledOut);
        }
        let share = keep_share(self.settings.queue.fill());
        if share < 1.0 {
            self.settings.metrics.tap.keep_share.set(share);
            if !is_sampled(id, sample * share) {
                return Err(Without::Dropped("shed"));
            }
        }
        self.settings.queue.reserve().ok_or(Without::Dropped("queue_full"))
    }

    /// The ids that the settings ask for and the client did not give: `traceparent` and `x-request-id`.
    fn identify(&self, fields: &impl Fields, now: DateTime<Utc>) -> (Option<String>, Option<String>) {
        let wants = |is_set: bool, name: &str| is_set && fields.field(name).is_none();
        let traceparent = wants(self.tap().traceparent, TRACEPARENT).then(|| {
            let mut text = [0; uuid::fmt::Simple::LENGTH];
            let trace = new_uuid(now).simple().encode_lower(&mut text);
            // Unique within its trace, which is all that a span has to be; never all zeros, as the variant is in it.
            ["00-", trace, "-", trace.get(16..).unwrap_or_default(), "-01"].concat()
        });
        let request_id = wants(self.tap().request_id, REQUEST_ID).then(|| new_id(now));
        (traceparent, request_id)
    }

    /// The route of a prediction, and its model if that is known before the body.
    fn recognise<F: Fields>(
        &self,
        asked: &Asked<'_, F>,
        route_model: Option<&ModelName>,
    ) -> Option<(Route, Option<ModelName>)> {
        let recognised = Route::recognise(asked.method, asked.path, asked.fields.text("user-agent"));
        if recognised == Recognised::NeverTapped {
            return None;
        }
        if asked.method == "POST"
            && let Some(model) = self.settings.paths.get(asked.path)
        {
            let route = match recognised {
                Recognised::Prediction(route) => route,
                _ => Route::configured(),
            };
            return Some((route, Some(model.clone())));
        }
        let Recognised::Prediction(route) = recognised else { return None };
        if let Some(model) = route_model {
            return Some((route, Some(model.clone())));
        }
        if route.model.is_none() && is_in_body(route.protocol) {
            return Some((route, None));
        }
        let model = route.model.as_deref().and_then(|name| ModelName::parse(name).ok());
        if model.is_none() {
            self.settings.metrics.tap.unmonitored.inc();
        }
        Some((route, Some(model?)))
    }

    /// The time of the prediction, and whether its header had to be passed over.
    fn event_time(&self, fields: &impl Fields, received_at: DateTime<Utc>) -> (DateTime<Utc>, bool) {
        let Some(value) = self.event_time_header.as_ref().and_then(|name| fields.field(name.as_str())) else {
            return (received_at, false);
        };
        let time = std::str::from_utf8(value).ok();
        let time = time.and_then(|text| DateTime::parse_from_rfc3339(text.trim()).ok());
        match time.map(|time| time.to_utc()) {
            Some(time) if time <= received_at + FUTURE_LIMIT => (time, false),
            _ => (received_at, true),
        }
    }

    /// The copy of an answer's body: of nothing where no rows can come of it.
    pub(super) fn answer_copy(&self, observing: Option<&Observing>) -> BodyCopy {
        let room = self.settings.queue.reservation();
        if observing.is_some_and(Observing::is_recorded) {
            BodyCopy::new(room, self.tap().body_limit.0)
        } else {
            BodyCopy::unwanted(room)
        }
    }
}
