//! What a run tells while it works, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use driftline::store::training_log::Metric;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Why a run ends without a version.
#[derive(Debug, Clone, PartialEq, Error)]
pub(crate) enum Halt {
    /// A decision: too few labels, one class, no better model.
    #[error("{0}")]
    Rejected(String),
    /// An error that trying again will not mend.
    #[error("{0}")]
    Failed(String),
    /// Told to stop.
    #[error("{}", .0.as_str())]
    Stopped(StopReason),
}

/// Why a run is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// A person cancelled it.
    Cancelled,
    /// Another worker may have it.
    LeaseLost,
    /// This worker stops.
    Shutdown,
}

impl StopReason {
    /// The reason as a sentence.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled by a person",
            Self::LeaseLost => "the lease is lost",
            Self::Shutdown => "the worker stops",
        }
    }
}

/// A stop signal; the first reason counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Tells the run to stop.
    pub(crate) fn set(&self, reason: StopReason) {
        let code = match reason {
            StopReason::Cancelled => 1,
            StopReason::LeaseLost => 2,
            StopReason::Shutdown => 3,
        };
        // The result only says which reason came first.
        self.0.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire).unwrap_or_default();
    }

    /// The reason, once there is one.
    pub(crate) fn reason(&self) -> Option<StopReason> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(StopReason::Cancelled),
            2 => Some(StopReason::LeaseLost),
            3 => Some(StopReason::Shutdown),
            _ => None,
        }
    }
}

/// How far the run is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Progress {
    /// `linear` or `deep`.
    pub(crate) candidate: &'static str,
    /// Epochs done.
    pub(crate) epoch: usize,
    /// Upper limit of epochs.
    pub(crate) max_epochs: usize,
    /// Mean loss of the epoch on the training part.
    pub(crate) train_loss: f64,
    /// Mean loss after the epoch on the validation part.
    pub(crate) validation_loss: f64,
    /// Seconds until the last epoch at the latest.
    pub(crate) eta_seconds: u64,
    /// Rows trained on in a second, in this epoch.
    pub(crate) rows_per_second: f64,
}

/// Something that a run tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A line for people.
    Line {
        /// Whether it is a warning.
        is_warning: bool,
        /// The line.
        message: String,
    },
    /// An epoch is done.
    Progress(Progress),
    /// Numbers to keep.
    Metrics(Vec<Metric>),
}

/// The run's end of the conversation.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    events: UnboundedSender<Event>,
    stop: Stop,
    /// Whether progress and numbers are kept to itself.
    is_quiet: bool,
}

impl Journal {
    /// A journal and where its events come out.
    pub(crate) fn new(stop: Stop) -> (Self, UnboundedReceiver<Event>) {
        let (events, out) = unbounded_channel();
        (Self { events, stop, is_quiet: false }, out)
    }

    /// The same journal, which passes on lines but neither progress nor numbers.
    pub(crate) fn without_progress(&self) -> Self {
        Self { is_quiet: true, ..self.clone() }
    }

    /// Tells something. Nobody listening is no reason to stop training.
    fn tell(&self, event: Event) {
        self.events.send(event).unwrap_or_default();
    }

    /// A line for people.
    pub(crate) fn info(&self, message: impl Into<String>) {
        self.tell(Event::Line { is_warning: false, message: message.into() });
    }

    /// A line about something that was mended or left out.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.tell(Event::Line { is_warning: true, message: message.into() });
    }

    /// An epoch is done.
    pub(crate) fn progress(&self, progress: Progress) {
        if !self.is_quiet {
            self.tell(Event::Progress(progress));
        }
    }

    /// Numbers to keep.
    pub(crate) fn metrics(&self, metrics: Vec<Metric>) {
        if !self.is_quiet {
            self.tell(Event::Metrics(metrics));
        }
    }

    /// Stops here when told to.
    pub(crate) fn checkpoint(&self) -> Result<(), Halt> {
        self.stop.reason().map_or(Ok(()), |reason| Err(Halt::Stopped(reason)))
    }
}
