//! One exchange on its way from the proxy to the decoder.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::ids::new_uuid;
use super::ledger::Ticket;
use super::queue::Reservation;
use crate::decode::events::{LabelEvent, MAX_INFLATED, labels_of_feedback};
use crate::decode::inflate::inflate;
use crate::decode::{self, DecodeFailure, Headers, Naming, Notes, Protocol, RawExchange, Route};
use crate::model::{Exchange, ModelName};

/// A copied exchange; what it holds in memory is given back when it is dropped, and so is its place in the ledger.
#[derive(Debug)]
pub struct Recorded {
    pub(super) route: Route,
    pub(super) received_at: DateTime<Utc>,
    pub(super) event_time: DateTime<Utc>,
    pub(super) upstream_seconds: f64,
    pub(super) status: u16,
    pub(super) request_headers: Headers,
    pub(super) response_headers: Headers,
    pub(super) request: Vec<Bytes>,
    pub(super) response: Vec<Bytes>,
    pub(super) response_truncated: bool,
    pub(super) generated_id: Option<String>,
    pub(super) ticket: Ticket,
    pub(super) reservations: [Reservation; 2],
}

/// An exchange with its rows. Its ticket is still open: `kept` when it is profiled, `dropped` with a reason if not.
#[derive(Debug)]
pub struct DecodedExchange {
    /// What the profile and the capture see.
    pub exchange: Exchange,
    /// What was odd about it; counted already.
    pub notes: Notes,
    /// When the request arrived.
    pub received_at: DateTime<Utc>,
    /// From sending the request to the head of the answer.
    pub upstream_seconds: f64,
    /// Its place in the ledger.
    pub ticket: Ticket,
}

impl Recorded {
    /// The model that was asked.
    pub fn model(&self) -> &ModelName {
        self.ticket.model()
    }

    /// The id of the prediction as far as its headers tell it, for logs.
    pub fn known_id(&self) -> Option<&str> {
        self.request_headers.any_id().or(self.generated_id.as_deref())
    }

    /// When the prediction happened.
    pub fn event_time(&self) -> DateTime<Utc> {
        self.event_time
    }

    /// The header `traceparent` as the model server got it.
    pub fn traceparent(&self) -> Option<&str> {
        self.request_headers.get("traceparent")
    }

    /// When the request arrived.
    pub fn received_at(&self) -> DateTime<Utc> {
        self.received_at
    }

    /// From sending the request to the head of the answer.
    pub fn upstream_seconds(&self) -> f64 {
        self.upstream_seconds
    }

    /// Status of the answer.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Bytes that it holds of the queue's budget.
    pub fn reserved_bytes(&self) -> usize {
        self.reservations.iter().map(Reservation::bytes).sum()
    }

    /// Whether it is feedback about an earlier prediction, and none itself.
    pub fn is_feedback(&self) -> bool {
        self.route.protocol == Protocol::SeldonFeedback
    }

    /// The labels of an exchange that is feedback; its ticket is settled.
    ///
    /// # Errors
    ///
    /// A stable reason when there is none; the exchange is then settled as dropped for it.
    pub fn into_labels(self) -> Result<Vec<LabelEvent>, &'static str> {
        let puid = self.request_headers.get("seldon-puid").or(self.response_headers.get("seldon-puid"));
        let body = joined(self.request);
        let coding = self.request_headers.get("content-encoding");
        let labels = match inflate(&body, coding, MAX_INFLATED) {
            _ if !(200..300).contains(&self.status) => Err("error_status"),
            Ok(body) => labels_of_feedback(puid, &body),
            Err(_) => Err("damaged_compression"),
        };
        match labels {
            Ok(labels) => {
                self.ticket.kept();
                Ok(labels)
            }
            Err(reason) => {
                self.ticket.dropped(reason);
                Err(reason)
            }
        }
    }

    /// Reads the rows; for a thread of its own, never on the path of a prediction.
    ///
    /// # Errors
    ///
    /// Why there are no rows; the exchange is then settled as dropped for that reason.
    pub fn decode(self, naming: &Naming) -> Result<DecodedExchange, DecodeFailure> {
        let (request, response) = (joined(self.request), joined(self.response));
        let raw = RawExchange {
            route: &self.route,
            request_headers: &self.request_headers,
            request: &request,
            request_truncated: false,
            status: self.status,
            response_headers: &self.response_headers,
            response: &response,
            response_truncated: self.response_truncated,
        };
        let decoded = match decode::decode(&raw, naming) {
            Ok(decoded) => decoded,
            Err(failure) => {
                self.ticket.dropped(failure.reason());
                return Err(failure);
            }
        };
        self.ticket.count(decoded.batch.rows, decoded.notes.each());
        let id = decode::exchange_id(
            &self.request_headers,
            &self.response_headers,
            decoded.body_id.as_deref(),
            || self.generated_id.unwrap_or_else(|| new_id(self.received_at)),
        );
        let ids = [&self.request_headers, &self.response_headers];
        let other_ids = decode::other_ids(ids, decoded.body_id.as_deref(), &id);
        Ok(DecodedExchange {
            exchange: Exchange {
                id,
                model: self.ticket.model().clone(),
                model_version: decoded.model_version,
                event_time: self.event_time,
                batch: decoded.batch,
                other_ids,
            },
            notes: decoded.notes,
            received_at: self.received_at,
            upstream_seconds: self.upstream_seconds,
            ticket: self.ticket,
        })
    }
}

/// One piece as it is, several in one.
fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([piece]) => piece,
        Err(pieces) => pieces.concat().into(),
    }
}

/// A new id in the order of time.
pub(super) fn new_id(now: DateTime<Utc>) -> String {
    new_uuid(now).to_string()
}

/// Whether an id belongs to the share that is kept: the same on every replica and after every restart.
pub(super) fn is_sampled(id: &str, share: f64) -> bool {
    // FNV-1a, then the finaliser of MurmurHash3, since FNV alone spreads the last bytes poorly.
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    (hash >> 11) as f64 / (1_u64 << 53) as f64 <= share && share > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_is_stable_and_close_to_its_share() {
        for share in [0.01, 0.1, 0.5, 0.9] {
            let kept = (0..100_000).filter(|i| is_sampled(&format!("req-{i}"), share)).count();
            let sd = (100_000.0 * share * (1.0 - share)).sqrt();
            assert!((kept as f64 - 100_000.0 * share).abs() < 5.0 * sd, "{share}: {kept}");
        }
        assert!((0..1000).all(|i| is_sampled(&i.to_string(), 1.0)));
        // Computed apart from this code; other values would have labels look for predictions that were never kept.
        let kept: Vec<usize> = (0..20).filter(|i| is_sampled(&format!("req-{i}"), 0.3)).collect();
        assert_eq!(kept, [0, 1, 3, 10, 11, 12, 19]);
    }

    #[test]
    fn ids_sort_by_time() {
        let at = |seconds| new_id(DateTime::from_timestamp(seconds, 0).unwrap());
        assert!(at(1_000) < at(2_000) && at(2_000) < at(1_700_000_000));
    }
}
