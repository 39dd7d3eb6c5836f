//! The figures that counts come down to: shares, quantiles, sizes, exchanges under way.

use serde::{Deserialize, Serialize};

use super::{Ending, Histogram, TrafficCounts};

/// One figure of a window's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Exchanges, per window.
    Requests,
    /// Share that ended with an error of the model server.
    ErrorShare,
    /// Share that ended with an error of the client.
    ClientErrorShare,
    /// Share whose client went away before there was an answer.
    UnansweredShare,
    /// Median seconds to the head of the model server's answer.
    UpstreamP50,
    /// Of ten, the slowest takes at least this.
    UpstreamP90,
    /// Of twenty, the slowest takes at least this.
    UpstreamP95,
    /// Of a hundred, the slowest takes at least this.
    UpstreamP99,
    /// Median seconds from the head of the request to the end of the answer.
    AnswerP50,
    /// The same, slowest of ten.
    AnswerP90,
    /// The same, slowest of a hundred.
    AnswerP99,
    /// Median seconds that driftline added.
    OverheadP50,
    /// The same, slowest of ten.
    OverheadP90,
    /// The same, slowest of a hundred.
    OverheadP99,
    /// Mean length of a request's body, in bytes.
    RequestBytesMean,
    /// Length of the longest of a hundred.
    RequestBytesP99,
    /// Mean length of an answer's body, in bytes.
    ResponseBytesMean,
    /// Length of the longest of a hundred.
    ResponseBytesP99,
    /// Mean number of exchanges under way when one began.
    InFlightMean,
    /// Most exchanges under way at once in one process.
    InFlightMax,
}

impl Figure {
    /// Those that are compared with earlier windows; the others are only shown.
    pub const TESTED: [Self; 8] = [
        Self::ErrorShare,
        Self::ClientErrorShare,
        Self::UnansweredShare,
        Self::UpstreamP50,
        Self::UpstreamP90,
        Self::UpstreamP99,
        Self::AnswerP99,
        Self::OverheadP99,
    ];

    /// All of them, in the order of reports.
    pub const ALL: [Self; 20] = [
        Self::Requests,
        Self::ErrorShare,
        Self::ClientErrorShare,
        Self::UnansweredShare,
        Self::UpstreamP50,
        Self::UpstreamP90,
        Self::UpstreamP95,
        Self::UpstreamP99,
        Self::AnswerP50,
        Self::AnswerP90,
        Self::AnswerP99,
        Self::OverheadP50,
        Self::OverheadP90,
        Self::OverheadP99,
        Self::RequestBytesMean,
        Self::RequestBytesP99,
        Self::ResponseBytesMean,
        Self::ResponseBytesP99,
        Self::InFlightMean,
        Self::InFlightMax,
    ];

    /// The name in rules, reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::ErrorShare => "error_share",
            Self::ClientErrorShare => "client_error_share",
            Self::UnansweredShare => "unanswered_share",
            Self::UpstreamP50 => "upstream_p50",
            Self::UpstreamP90 => "upstream_p90",
            Self::UpstreamP95 => "upstream_p95",
            Self::UpstreamP99 => "upstream_p99",
            Self::AnswerP50 => "answer_p50",
            Self::AnswerP90 => "answer_p90",
            Self::AnswerP99 => "answer_p99",
            Self::OverheadP50 => "overhead_p50",
            Self::OverheadP90 => "overhead_p90",
            Self::OverheadP99 => "overhead_p99",
            Self::RequestBytesMean => "request_bytes_mean",
            Self::RequestBytesP99 => "request_bytes_p99",
            Self::ResponseBytesMean => "response_bytes_mean",
            Self::ResponseBytesP99 => "response_bytes_p99",
            Self::InFlightMean => "in_flight_mean",
            Self::InFlightMax => "in_flight_max",
        }
    }

    /// The histogram and the quantile of it that the figure is; `None` for other figures.
    pub(super) fn quantile(self, counts: &TrafficCounts) -> Option<(&Histogram, f64)> {
        let of = match self {
            Self::UpstreamP50 | Self::UpstreamP90 | Self::UpstreamP95 | Self::UpstreamP99 => {
                &counts.upstream_seconds
            }
            Self::AnswerP50 | Self::AnswerP90 | Self::AnswerP99 => &counts.answer_seconds,
            Self::OverheadP50 | Self::OverheadP90 | Self::OverheadP99 => &counts.overhead_seconds,
            Self::RequestBytesP99 => &counts.request_bytes,
            Self::ResponseBytesP99 => &counts.response_bytes,
            _ => return None,
        };
        let q = match self {
            Self::UpstreamP50 | Self::AnswerP50 | Self::OverheadP50 => 0.5,
            Self::UpstreamP90 | Self::AnswerP90 | Self::OverheadP90 => 0.9,
            Self::UpstreamP95 => 0.95,
            _ => 0.99,
        };
        Some((of, q))
    }

    /// The ending whose share the figure is; `None` for other figures.
    pub(super) fn ending(self) -> Option<Ending> {
        match self {
            Self::ErrorShare => Some(Ending::ServerError),
            Self::ClientErrorShare => Some(Ending::ClientError),
            Self::UnansweredShare => Some(Ending::Unanswered),
            _ => None,
        }
    }

    /// The figure of `counts`; `None` where nothing was counted.
    pub fn of(self, counts: &TrafficCounts) -> Option<f64> {
        if let Some(ending) = self.ending() {
            return counts.per_request(counts.ended(ending));
        }
        if let Some((histogram, q)) = self.quantile(counts) {
            return histogram.quantile(q);
        }
        match self {
            Self::RequestBytesMean => counts.per_request(counts.request_bytes_sum),
            Self::ResponseBytesMean => counts.per_request(counts.response_bytes_sum),
            Self::InFlightMean => counts.per_request(counts.in_flight_sum),
            Self::InFlightMax => (!counts.is_empty()).then(|| f64::from(counts.in_flight_max())),
            _ => Some(counts.requests() as f64),
        }
    }

    /// The unit, which decides how the figure is written and how far it may move.
    pub fn unit(self) -> Unit {
        match self {
            Self::Requests | Self::InFlightMean | Self::InFlightMax => Unit::Count,
            Self::ErrorShare | Self::ClientErrorShare | Self::UnansweredShare => Unit::Share,
            Self::RequestBytesMean
            | Self::RequestBytesP99
            | Self::ResponseBytesMean
            | Self::ResponseBytesP99 => Unit::Bytes,
            _ => Unit::Seconds,
        }
    }

    /// `value` as people read it.
    pub fn text(self, value: f64) -> String {
        match self.unit() {
            Unit::Share => format!("{} %", short(100.0 * value)),
            Unit::Count => short(value),
            Unit::Bytes if value >= 1e6 => format!("{} MB", short(value / 1e6)),
            Unit::Bytes if value >= 1e3 => format!("{} kB", short(value / 1e3)),
            Unit::Bytes => format!("{} B", short(value)),
            Unit::Seconds if value >= 1.0 => format!("{} s", short(value)),
            Unit::Seconds if value >= 1e-3 => format!("{} ms", short(value * 1e3)),
            Unit::Seconds => format!("{} µs", short(value * 1e6)),
        }
    }
}

/// What a figure is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// A part of the exchanges, in `[0, 1]`.
    Share,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// Three significant digits, whole from a hundred on.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 100.0 {
        return format!("{value:.0}");
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if !(f64::MIN_POSITIVE..1e-2).contains(&size) {
        format!("{value:.2}")
    } else {
        return format!("{value:.1e}");
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
