//! Settings of ingestion: messages that are pushed, streamed or read from files, and the sink they are pushed to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{ByteSize, Span};
use crate::model::ModelName;

/// Ingestion, and the endpoints that payload loggers and applications post to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sink {
    /// A listener of its own for posted messages, beside the admin port that takes them too; absent: none.
    pub listen: Option<SocketAddr>,
    /// File with the SHA-256 of each token that may post to `listen`, in hexadecimal, one a line. Sent as
    /// `Authorization: Bearer TOKEN`, or as the password of the URL. Required unless `listen` is loopback.
    pub token_file: Option<PathBuf>,
    /// The model of events that name none; absent: the model of the settings, where there is only one.
    pub model: Option<ModelName>,
    /// Longest accepted body, and eight times as much once inflated.
    pub body_limit: ByteSize,
    /// Messages that may wait for the database at once; past it they are refused as busy.
    pub waiting_messages: usize,
    /// Bytes that messages waiting for the database may take; one that is larger than all of it is let in alone.
    pub waiting_bytes: ByteSize,
    /// How long an HTTP client waits for its message to be stored before it is told to try again.
    pub patience: Span,
    /// Age past which the time of a posted event is not believed: the time of arrival is taken, and counted. Times
    /// that are given to `POST /v1/predictions`, by streams and by files may be of any age.
    pub event_age: Span,
    /// How long one side of an exchange waits for the other.
    pub pending_for: Span,
    /// Sides that may wait at once, over all replicas.
    pub pending_sides: u64,
    /// Bytes that waiting sides may take in the database, over all replicas.
    pub pending_bytes: ByteSize,
    /// How long the ids of messages are kept, so that one that is delivered again is not counted again.
    pub remember: Span,
    /// Ids of messages that are kept at most; past it the oldest are forgotten first.
    pub remember_keys: u64,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            listen: None,
            token_file: None,
            model: None,
            body_limit: ByteSize(16 << 20),
            waiting_messages: 4096,
            waiting_bytes: ByteSize(64 << 20),
            patience: Span(Duration::from_secs(10)),
            event_age: Span(Duration::from_hours(6)),
            pending_for: Span(Duration::from_mins(5)),
            pending_sides: 100_000,
            pending_bytes: ByteSize(256 << 20),
            remember: Span(Duration::from_hours(7 * 24)),
            remember_keys: 20_000_000,
        }
    }
}

impl Sink {
    /// What cannot be meant together.
    pub(super) fn contradictions(&self, models: &[ModelName]) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(listen) = self.listen
            && !listen.ip().is_loopback()
            && self.token_file.is_none()
        {
            problems.push(format!(
                "`sink.listen` {listen} is open to other machines, but `sink.token_file` is not set"
            ));
        }
        if let Some(model) = &self.model
            && !models.contains(model)
        {
            problems.push(format!("`sink.model` is `{model}`, which is not one of the models"));
        }
        for (field, zero) in [
            ("body_limit", self.body_limit.0 == 0),
            ("waiting_messages", self.waiting_messages == 0),
            ("waiting_bytes", self.waiting_bytes.0 == 0),
            ("patience", self.patience.0.is_zero()),
            ("pending_for", self.pending_for.0.is_zero()),
        ] {
            if zero {
                problems.push(format!("`sink.{field}` has to be more than 0"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    fn problems(text: &str) -> String {
        Settings::parse(text, "s.yaml").unwrap_err().to_string()
    }

    #[test]
    fn a_sink_that_others_reach_wants_a_token() {
        let open = problems("sink: {listen: '0.0.0.0:9465'}\n");
        assert!(open.contains("`sink.token_file` is not set"), "{open}");
        for fine in
            ["sink: {listen: '127.0.0.1:9465'}\n", "sink: {listen: '[::]:9465', token_file: tokens}\n"]
        {
            assert!(Settings::parse(fine, "s.yaml").is_ok(), "{fine}");
        }
    }

    #[test]
    fn contradictions_are_reported_together() {
        let found =
            problems("sink: {model: other, patience: 0s, waiting_messages: 0}\nmodels: [{name: m}]\n");
        for part in ["`sink.model` is `other`", "`sink.patience`", "`sink.waiting_messages`"] {
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn an_alias_stands_for_one_model() {
        let found = problems(
            "models: [{name: a, aliases: [x, b]}, {name: b, aliases: [x]}, {name: c, aliases: ['']}]\n",
        );
        for part in ["alias `x` of model `b`", "alias `b` of model `a`", "alias `` of model `c`"] {
            assert!(found.contains(part), "{found}");
        }
    }
}
