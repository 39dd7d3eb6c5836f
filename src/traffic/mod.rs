//! Traffic: how long a model's answers took, how they ended, how large they were, and whether a window was worse than
//! those before it.
//!
//! A [`TrafficCounts`] holds integer counts alone, so that parts of a minute merge exactly, in any order. [`judge`]
//! compares a window with earlier windows of the same model: nothing has to be built beforehand, and a change that stays
//! is the new normal once the windows before it have passed out of reach.

mod encoding;
mod figures;
mod histogram;
mod judge;
mod report;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use encoding::{DecodeError, decode, encode, merge_stored};
pub use figures::{Figure, Unit};
pub use histogram::{Histogram, RELATIVE_ERROR};
pub use judge::{Earlier, MAX_WINDOWS, MIN_WINDOWS, Reach, Reference, Usual, judge};
pub use report::{Compared, ReferenceWindows, TrafficCriteria, TrafficReport, TrafficVerdict};

/// The status of an exchange whose client went away before there was one (as nginx writes it); 0 means the same.
pub const CLIENT_GONE: u16 = 499;

/// What is known of one exchange when it has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exchange {
    /// From sending the request to the head of the answer.
    pub upstream_seconds: f64,
    /// From the head of the request to the last byte of the answer.
    pub answer_seconds: f64,
    /// What driftline added.
    pub overhead_seconds: f64,
    /// The status that the client got; [`CLIENT_GONE`] or 0 when it got none.
    pub status: u16,
    /// The status of a gRPC call.
    pub grpc_status: Option<u16>,
    /// Length of the request's body.
    pub request_bytes: u64,
    /// Length of the answer's body.
    pub response_bytes: u64,
    /// Exchanges under way in this process when it began, itself included.
    pub in_flight: u32,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With what was asked for.
    Answered,
    /// With an error that lies with whoever asked.
    ClientError,
    /// With an error that lies with the model server, or with driftline in its place.
    ServerError,
    /// With nothing: the client went away first.
    Unanswered,
}

impl Ending {
    const COUNT: usize = 4;

    /// The ending of an exchange with these statuses.
    ///
    /// A call of gRPC is told by its own status, as its HTTP status is 200 whatever happened. `CANCELLED` is a client
    /// that went away; those that a different request would not have met are errors of the client.
    pub fn of(status: u16, grpc_status: Option<u16>) -> Self {
        match (status, grpc_status) {
            (0 | CLIENT_GONE, _) => Self::Unanswered,
            (400..=499, _) => Self::ClientError,
            (500.., _) => Self::ServerError,
            (_, None | Some(0)) => Self::Answered,
            (_, Some(1)) => Self::Unanswered,
            (_, Some(3 | 5 | 6 | 7 | 9 | 11 | 16)) => Self::ClientError,
            (_, Some(_)) => Self::ServerError,
        }
    }
}

/// Counts of some exchanges of one model.
///
/// Every exchange is in each histogram once, in one ending and under one status; nothing else is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrafficCounts {
    pub(crate) upstream_seconds: Histogram,
    pub(crate) answer_seconds: Histogram,
    pub(crate) overhead_seconds: Histogram,
    pub(crate) request_bytes: Histogram,
    pub(crate) response_bytes: Histogram,
    /// By [`Ending`], in its order.
    endings: [u64; Ending::COUNT],
    /// By HTTP status; whatever is over 999 is 1000.
    statuses: BTreeMap<u16, u64>,
    /// By gRPC status, of calls alone; whatever is over 16 is 17.
    grpc_statuses: BTreeMap<u16, u64>,
    request_bytes_sum: u64,
    response_bytes_sum: u64,
    in_flight_sum: u64,
    in_flight_max: u32,
}

/// Statuses past this one are counted together.
const MAX_STATUS: u16 = 1000;
/// Statuses of gRPC past this one are counted together.
const MAX_GRPC_STATUS: u16 = 17;

impl TrafficCounts {
    /// Counts one exchange.
    pub fn record(&mut self, exchange: &Exchange) {
        self.upstream_seconds.record(exchange.upstream_seconds);
        self.answer_seconds.record(exchange.answer_seconds);
        self.overhead_seconds.record(exchange.overhead_seconds);
        self.request_bytes.record(exchange.request_bytes as f64);
        self.response_bytes.record(exchange.response_bytes as f64);
        self.endings[Ending::of(exchange.status, exchange.grpc_status) as usize] += 1;
        *self.statuses.entry(exchange.status.min(MAX_STATUS)).or_default() += 1;
        if let Some(status) = exchange.grpc_status {
            *self.grpc_statuses.entry(status.min(MAX_GRPC_STATUS)).or_default() += 1;
        }
        self.request_bytes_sum = self.request_bytes_sum.saturating_add(exchange.request_bytes);
        self.response_bytes_sum = self.response_bytes_sum.saturating_add(exchange.response_bytes);
        self.in_flight_sum = self.in_flight_sum.saturating_add(u64::from(exchange.in_flight));
        self.in_flight_max = self.in_flight_max.max(exchange.in_flight);
    }

    /// Adds the counts of `other`: exact, associative and commutative.
    pub fn merge(&mut self, other: &Self) {
        self.upstream_seconds.merge(&other.upstream_seconds);
        self.answer_seconds.merge(&other.answer_seconds);
        self.overhead_seconds.merge(&other.overhead_seconds);
        self.request_bytes.merge(&other.request_bytes);
        self.response_bytes.merge(&other.response_bytes);
        for (own, more) in self.endings.iter_mut().zip(other.endings) {
            *own = own.saturating_add(more);
        }
        for (own, more) in
            [(&mut self.statuses, &other.statuses), (&mut self.grpc_statuses, &other.grpc_statuses)]
        {
            for (&status, &count) in more {
                let held = own.entry(status).or_default();
                *held = held.saturating_add(count);
            }
        }
        self.request_bytes_sum = self.request_bytes_sum.saturating_add(other.request_bytes_sum);
        self.response_bytes_sum = self.response_bytes_sum.saturating_add(other.response_bytes_sum);
        self.in_flight_sum = self.in_flight_sum.saturating_add(other.in_flight_sum);
        self.in_flight_max = self.in_flight_max.max(other.in_flight_max);
    }

    /// Exchanges counted.
    pub fn requests(&self) -> u64 {
        self.endings.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.requests() == 0
    }

    /// Exchanges that ended so.
    pub fn ended(&self, ending: Ending) -> u64 {
        self.endings[ending as usize]
    }

    /// Exchanges by HTTP status; 1000 stands for all over 999.
    pub fn statuses(&self) -> &BTreeMap<u16, u64> {
        &self.statuses
    }

    /// Calls by gRPC status; 17 stands for all over 16.
    pub fn grpc_statuses(&self) -> &BTreeMap<u16, u64> {
        &self.grpc_statuses
    }

    /// Most exchanges that were under way at once in one process.
    pub fn in_flight_max(&self) -> u32 {
        self.in_flight_max
    }

    fn per_request(&self, sum: u64) -> Option<f64> {
        let requests = self.requests();
        (requests > 0).then(|| sum as f64 / requests as f64)
    }
}
