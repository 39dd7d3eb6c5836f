//! Settings of what predictions are read from beside the tap: brokers and files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{ByteSize, Span};
use crate::decode::events::EventFormat;
use crate::model::ModelName;

/// Messages in flight that a source may have at most.
const MAX_IN_FLIGHT: u16 = 10_000;

/// Options of librdkafka on which "counted once" and the other keys of a source rest.
const KAFKA_OPTIONS_TAKEN: [&str; 10] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "enable.auto.commit",
    "auto.commit.enable",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "sasl.username",
    "sasl.password",
];

/// One source of predictions; exactly one of `nats`, `rabbitmq`, `kafka` and `files` says of which kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// Names it in metrics, logs and the database; letters, digits, `.`, `_`, `-`. Under another name files are read from
    /// their start again.
    pub name: SourceName,
    /// The model of messages that name none.
    #[serde(default)]
    pub model: Option<ModelName>,
    /// The format of messages of a broker, where they do not tell it themselves: `cloudevents`, `predictions`, `labels`,
    /// `exchanges`, `requests`, `responses`, `sagemaker`, `modelmesh`, `seldon_feedback`, `debezium`, …
    #[serde(default)]
    pub format: Option<String>,
    /// A stream of NATS `JetStream`.
    #[serde(default)]
    pub nats: Option<NatsSource>,
    /// A queue of `RabbitMQ`.
    #[serde(default)]
    pub rabbitmq: Option<RabbitSource>,
    /// Topics of Kafka, or of what speaks its protocol; needs a build with `--features kafka`.
    #[serde(default)]
    pub kafka: Option<KafkaSource>,
    /// Files of a folder.
    #[serde(default)]
    pub files: Option<FileSource>,
}

/// The name of a source, checked like that of a model: it is safe in a label, a log and a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct SourceName(String);

impl SourceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SourceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match ModelName::parse(name.clone()) {
            Ok(_) => Ok(Self(name)),
            Err(_) => Err(format!(
                "`{name}` is no name of a source: use 1 to 128 letters, digits, `.`, `_` and `-`, and no `.` first"
            )),
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address that may hold a user and a password, which nothing but [`BrokerUrl::expose`] shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct BrokerUrl(String);

impl BrokerUrl {
    /// Wraps an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The address with its password; to be called where it goes out, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn has_scheme(&self, schemes: &[&str]) -> bool {
        self.0.split(',').all(|url| {
            url.split_once("://").is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty())
        })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, url) in self.0.split(',').enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
            let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |end| rest.split_at(end));
            // Parameters may hold secrets as well.
            let path = path.split('?').next().unwrap_or_default();
            // The last `@` ends the password, which may hold others.
            let (mask, host) = authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("***@", host));
            write!(f, "{scheme}{}{mask}{host}{path}", if scheme.is_empty() { "" } else { "://" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where a consumer that is new begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// With the oldest message there is.
    #[default]
    Oldest,
    /// With the next message that comes.
    Newest,
}

/// A stream of NATS `JetStream`, read through a durable pull consumer that all replicas share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSource {
    /// `nats://host:4222` or `tls://host:4222`; several servers of one cluster with commas between them.
    pub url: BrokerUrl,
    /// Name of the stream, which has to exist.
    pub stream: String,
    /// Name of the durable consumer; made when there is none.
    pub consumer: String,
    /// Subjects to read, with wildcards; empty: all of the stream. Several need a server of 2.10 or newer.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// File with a JWT and its seed, as `nsc` writes it.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// File with a token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// User, with `password_file`.
    #[serde(default)]
    pub user: Option<String>,
    /// File with the password of `user`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// File with a PEM certificate authority to trust beside the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Messages that wait for the database at once.
    #[serde(default = "default_in_flight")]
    pub in_flight: u16,
    /// When the server gives a message to another replica, unless it is told that work goes on; at least 1s.
    #[serde(default = "default_ack_wait")]
    pub ack_wait: Span,
    /// Where a consumer that is made begins.
    #[serde(default)]
    pub start: StartAt,
    /// Longest message; longer ones are acknowledged, counted and left out.
    #[serde(default = "default_message_limit")]
    pub message_limit: ByteSize,
}

/// A queue of `RabbitMQ`, which has to exist.
///
/// A message that is delivered again counts once by its property `message-id`; without one by source, type and id of the
/// `CloudEvent` that it is; else by content and property `timestamp`, so that two messages of the same content in the same
/// second count as one. A message with none of these counts again when it is delivered again
/// (`driftline_source_skipped_total{reason="no_key"}` tells how many there are).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RabbitSource {
    /// `amqp://user@host:5672/vhost` or `amqps://…`.
    #[serde(default)]
    pub url: Option<BrokerUrl>,
    /// File that holds the URL, for one with a password.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// The queue.
    pub queue: String,
    /// Messages that wait for the database at once; the broker sends no more before some are acknowledged.
    #[serde(default = "default_in_flight")]
    pub prefetch: u16,
    /// File with a PEM certificate authority to trust, for `amqps`.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Longest message; longer ones are acknowledged, counted and left out.
    #[serde(default = "default_message_limit")]
    pub message_limit: ByteSize,
}

/// Topics of Kafka.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSource {
    /// `host:9092` of some brokers.
    pub brokers: Vec<String>,
    /// Topics; one that begins with `^` is a regular expression.
    pub topics: Vec<String>,
    /// The consumer group that all replicas share.
    pub group: String,
    /// User, with `password_file`.
    #[serde(default)]
    pub user: Option<String>,
    /// File with the password of `user`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Where a partition begins that the group has no offset for.
    #[serde(default)]
    pub start: StartAt,
    /// Messages that wait for the database at once.
    #[serde(default = "default_in_flight")]
    pub in_flight: u16,
    /// Longest message; longer ones are passed over and counted.
    #[serde(default = "default_message_limit")]
    pub message_limit: ByteSize,
    /// Further options of librdkafka, such as `security.protocol`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Any option may be a secret, so only their names are shown.
        f.debug_struct("KafkaSource")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("group", &self.group)
            .field("user", &self.user)
            .field("password_file", &self.password_file)
            .field("start", &self.start)
            .field("in_flight", &self.in_flight)
            .field("message_limit", &self.message_limit)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// What files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// By name: `.parquet`, `.arrow`, `.csv` are tables, `.json` a document, anything else lines; `.gz` and `.zst` are
    /// read through. Lines with a `schema` folder beside theirs are `bentoml`.
    #[default]
    Auto,
    /// One JSON document per line, each read by what it holds.
    Jsonl,
    /// Data capture or ground truth of `SageMaker`, one event per line.
    SagemakerCapture,
    /// Events of the data collector of Azure ML, one per line.
    Azure,
    /// Monitor logs of `BentoML`; the schema file beside them says which column is what.
    Bentoml,
    /// Events that `KServe`'s logger stored as objects, one or an array per file.
    KserveBlob,
    /// Tables in Parquet, with a row per prediction.
    Parquet,
    /// Tables in CSV with a header, with a row per prediction.
    Csv,
}

impl FileFormat {
    /// Whether files are followed line by line.
    pub fn is_lines(self) -> bool {
        matches!(self, Self::Jsonl | Self::SagemakerCapture | Self::Azure | Self::Bentoml)
    }

    fn is_table(self) -> bool {
        matches!(self, Self::Parquet | Self::Csv)
    }
}

/// Files of a folder.
///
/// How far each is read is kept under its device and inode, and under the name of the host unless `shared`: give a
/// container that keeps its files a fixed host name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// Patterns such as `/var/log/model/*.jsonl` or `/capture/**/*.jsonl`; names that begin with `.` or `_` or end in
    /// `.tmp` are passed over. Let the pattern match the names of rotated files too.
    pub paths: Vec<String>,
    /// What the files hold.
    #[serde(default)]
    pub format: FileFormat,
    /// Whether files of lines grow; else each is read once when it has stopped changing.
    #[serde(default = "default_true")]
    pub follow: bool,
    /// Whether all replicas see the same folder: then one of them at a time reads it. Else each reads its own.
    #[serde(default)]
    pub shared: bool,
    /// How often the folder is looked at.
    #[serde(default = "default_poll")]
    pub poll: Span,
    /// How long a file that is read as a whole must not have changed.
    #[serde(default = "default_settle")]
    pub settle: Span,
    /// Longest line; longer ones are passed over and counted.
    #[serde(default = "default_line_limit")]
    pub line_limit: ByteSize,
    /// Longest file that is read as a whole (tables, documents).
    #[serde(default = "default_file_limit")]
    pub file_limit: ByteSize,
    /// Offset from UTC of times without one, such as `+01:00` (`bentoml` writes local times).
    #[serde(default = "default_utc_offset")]
    pub utc_offset: String,
    /// Which column of a table, or of `BentoML`'s rows, is what.
    #[serde(default)]
    pub columns: FileColumns,
}

/// Which column of a table is what; all others are features.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileColumns {
    /// The column with the id of the prediction.
    pub id: Option<String>,
    /// The column with the time of the prediction; absent: the time at which the file was written.
    pub time: Option<String>,
    /// The column with the version of the model.
    pub version: Option<String>,
    /// Columns that the model gave.
    pub outputs: Vec<String>,
    /// Columns that are left out.
    pub ignore: Vec<String>,
}

fn default_true() -> bool {
    true
}

fn default_in_flight() -> u16 {
    256
}

fn default_ack_wait() -> Span {
    Span(Duration::from_secs(30))
}

fn default_message_limit() -> ByteSize {
    ByteSize(8 << 20)
}

fn default_poll() -> Span {
    Span(Duration::from_secs(1))
}

fn default_settle() -> Span {
    Span(Duration::from_secs(2))
}

fn default_line_limit() -> ByteSize {
    ByteSize(1 << 20)
}

fn default_file_limit() -> ByteSize {
    ByteSize(256 << 20)
}

fn default_utc_offset() -> String {
    "+00:00".to_owned()
}

impl SourceSettings {
    /// Takes relative paths as relative to `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| {
            if path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        if let Some(nats) = &mut self.nats {
            [&mut nats.credentials_file, &mut nats.token_file, &mut nats.password_file, &mut nats.ca_file]
                .into_iter()
                .flatten()
                .for_each(resolve);
        }
        if let Some(rabbitmq) = &mut self.rabbitmq {
            [&mut rabbitmq.url_file, &mut rabbitmq.ca_file].into_iter().flatten().for_each(resolve);
        }
        if let Some(kafka) = &mut self.kafka {
            kafka.password_file.iter_mut().for_each(resolve);
        }
        for pattern in self.files.iter_mut().flat_map(|files| &mut files.paths) {
            if Path::new(pattern).is_relative() {
                *pattern = folder.join(&*pattern).to_string_lossy().into_owned();
            }
        }
    }

    /// What is wrong with this source by itself, each with its place.
    fn problems(&self) -> Vec<String> {
        let mut problems = match (&self.nats, &self.rabbitmq, &self.kafka, &self.files) {
            (Some(nats), None, None, None) => nats.problems(),
            (None, Some(rabbitmq), None, None) => rabbitmq.problems(),
            (None, None, Some(kafka), None) => kafka.problems(),
            (None, None, None, Some(files)) => files.problems(self.model.is_some()),
            (None, None, None, None) => {
                vec!["it is of no kind; add one of `nats`, `rabbitmq`, `kafka` and `files`".to_owned()]
            }
            _ => {
                vec!["it is of several kinds; keep one of `nats`, `rabbitmq`, `kafka` and `files`".to_owned()]
            }
        };
        if let Some(format) = &self.format {
            if self.files.is_some() {
                problems.push("`format` is for brokers; say `files.format`".to_owned());
            } else if let Err(problem) = format.parse::<EventFormat>() {
                problems.push(format!("`format`: {problem}"));
            }
        }
        for problem in &mut problems {
            *problem = format!("source `{}`: {problem}", self.name);
        }
        problems
    }
}

/// Every contradiction of the sources; `models` are the monitored ones.
pub(super) fn contradictions(sources: &[SourceSettings], models: &[ModelName]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        if sources[..index].iter().any(|other| other.name == source.name) {
            problems.push(format!("source `{}` is listed twice", source.name));
        }
        if let Some(model) = &source.model
            && !models.contains(model)
        {
            problems.push(format!("source `{}`: model `{model}` is not listed in `models`", source.name));
        }
        problems.extend(source.problems());
    }
    problems
}

fn in_flight_problem(key: &str, value: u16) -> Option<String> {
    (value == 0 || value > MAX_IN_FLIGHT)
        .then(|| format!("`{key}` is {value}; use a number from 1 to {MAX_IN_FLIGHT}"))
}

fn blank(key: &str, value: &str) -> Option<String> {
    value.trim().is_empty().then(|| format!("`{key}` is empty"))
}

fn login_problem(user: Option<&String>, password_file: Option<&PathBuf>) -> Option<String> {
    match (user, password_file) {
        (Some(_), None) => Some("`user` is set and `password_file` is not".to_owned()),
        (None, Some(_)) => Some("`password_file` is set and `user` is not".to_owned()),
        _ => None,
    }
}

impl NatsSource {
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = [
            blank("nats.stream", &self.stream),
            blank("nats.consumer", &self.consumer),
            in_flight_problem("nats.in_flight", self.in_flight),
            login_problem(self.user.as_ref(), self.password_file.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect();
        for (key, name) in [("stream", &self.stream), ("consumer", &self.consumer)] {
            if name.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c)) {
                problems.push(format!("`nats.{key}` must have no blank and none of . * > / \\"));
            }
        }
        if !self.url.has_scheme(&["nats", "tls", "ws", "wss"]) {
            problems.push(format!("`nats.url` is `{}`, not nats://host:4222 or tls://host:4222", self.url));
        }
        if self.subjects.iter().any(|subject| subject.is_empty() || subject.contains(char::is_whitespace)) {
            problems.push("`nats.subjects` has one that is empty or holds a blank".to_owned());
        }
        if self.ack_wait.0 < Duration::from_secs(1) {
            problems.push(format!("`nats.ack_wait` is {}; use at least 1s", self.ack_wait));
        }
        let ways = [self.credentials_file.is_some(), self.token_file.is_some(), self.user.is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            problems.push("`nats`: keep one of `credentials_file`, `token_file` and `user`".to_owned());
        }
        problems
    }
}

impl RabbitSource {
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> =
            [blank("rabbitmq.queue", &self.queue), in_flight_problem("rabbitmq.prefetch", self.prefetch)]
                .into_iter()
                .flatten()
                .collect();
        match (&self.url, &self.url_file) {
            (Some(_), Some(_)) => {
                problems.push("`rabbitmq`: keep one of `url` and `url_file`".to_owned());
            }
            (None, None) => problems.push("`rabbitmq` needs `url` or `url_file`".to_owned()),
            (Some(url), None) if !url.has_scheme(&["amqp", "amqps"]) => {
                problems.push(format!("`rabbitmq.url` is `{url}`, not amqp://host:5672/vhost or amqps://…"));
            }
            _ => {}
        }
        problems
    }
}

impl KafkaSource {
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = [
            blank("kafka.group", &self.group),
            in_flight_problem("kafka.in_flight", self.in_flight),
            login_problem(self.user.as_ref(), self.password_file.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect();
        for (key, list) in [("brokers", &self.brokers), ("topics", &self.topics)] {
            if list.is_empty() || list.iter().any(|item| item.trim().is_empty()) {
                problems.push(format!("`kafka.{key}` is empty, or one of them is"));
            }
        }
        for option in self.options.keys().filter(|option| KAFKA_OPTIONS_TAKEN.contains(&option.as_str())) {
            problems.push(format!("`kafka.options`: `{option}` follows from the other keys; remove it"));
        }
        problems
    }
}

impl FileSource {
    fn problems(&self, has_model: bool) -> Vec<String> {
        let mut problems = Vec::new();
        if self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.trim().is_empty()) {
            problems.push("`files.paths` is empty, or one of them is".to_owned());
        }
        if let Some(url) = self.paths.iter().find(|pattern| pattern.contains("://")) {
            problems
                .push(format!("`files.paths`: `{url}` is a URL; only files are read, so mount or fetch it"));
        }
        if self.poll.0.is_zero() {
            problems.push("`files.poll` is 0; use a span such as 1s".to_owned());
        }
        if self.line_limit.0 == 0 || self.file_limit.0 == 0 {
            problems.push("`files.line_limit` and `files.file_limit` must be over 0".to_owned());
        }
        if self.utc_offset.parse::<chrono::FixedOffset>().is_err() {
            problems
                .push(format!("`files.utc_offset` is `{}`, not an offset such as +01:00", self.utc_offset));
        }
        if (self.format.is_table() || self.format == FileFormat::Bentoml) && !has_model {
            problems.push("rows of tables and of bentoml name no model; set `model`".to_owned());
        }
        if self.columns != FileColumns::default()
            && !(self.format.is_table() || self.format == FileFormat::Auto)
        {
            problems.push("`files.columns` is for tables; remove it, or set `format`".to_owned());
        }
        problems
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
