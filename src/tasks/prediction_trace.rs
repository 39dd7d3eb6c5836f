//! The trace of one prediction, from the request that came to the minute that counts it; told off its path.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::tap::Recorded;
use crate::traces::{Attribute, Span, SpanId, SpanKind, TraceId, Tracer, new_span_id, second_half};

/// What is noted of a prediction before it is decoded, where its trace is kept.
pub(super) struct PredictionTrace {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    model: String,
    received_at: DateTime<Utc>,
    upstream_seconds: f64,
    status: u16,
    profiling_since: DateTime<Utc>,
}

impl PredictionTrace {
    /// Begins where the request has a trace and that is kept.
    pub(super) fn begin(tracer: &Tracer, recorded: &Recorded) -> Option<Self> {
        let context = tracer.wanted(recorded.traceparent())?;
        // A header that the tap added names its own span after the second half of the trace.
        let is_ours = context.parent == second_half(context.trace);
        Some(Self {
            trace: context.trace,
            id: if is_ours { context.parent } else { new_span_id() },
            parent: (!is_ours).then_some(context.parent),
            model: recorded.model().to_string(),
            received_at: recorded.received_at(),
            upstream_seconds: recorded.upstream_seconds(),
            status: recorded.status(),
            profiling_since: tracer.now(),
        })
    }

    /// Tells of the prediction and of its profiling: the rows that were counted, or why there are none.
    pub(super) fn end(self, tracer: &Tracer, outcome: Result<usize, &str>) {
        let upstream = Duration::try_from_secs_f64(self.upstream_seconds).unwrap_or_default();
        let upstream = TimeDelta::from_std(upstream).unwrap_or_default();
        let model = || ("driftline.model", Attribute::Text(self.model.clone()));
        tracer.tell(Span {
            trace: self.trace,
            id: self.id,
            parent: self.parent,
            name: "predict",
            kind: SpanKind::Server,
            start: self.received_at,
            end: self.received_at + upstream,
            attributes: vec![
                model(),
                ("http.response.status_code", Attribute::Number(i64::from(self.status))),
            ],
            error: None,
        });
        let mut attributes = vec![model()];
        if let Ok(rows) = outcome {
            attributes.push(("driftline.rows", Attribute::Number(i64::try_from(rows).unwrap_or(i64::MAX))));
        }
        tracer.tell(Span {
            trace: self.trace,
            id: new_span_id(),
            parent: Some(self.id),
            name: "profile",
            kind: SpanKind::Internal,
            start: self.profiling_since,
            end: tracer.now(),
            attributes,
            error: outcome.err().map(str::to_owned),
        });
    }
}
