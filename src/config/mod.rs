//! Settings: typed, checked, every problem reported with its place.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;
use thiserror::Error;

use crate::baseline::Season;
use crate::drift::Correction;
use crate::model::{FeatureKind, ModelName};
use crate::retrain::{DeepSpec, Source, Task};

mod units;

pub use units::{ByteSize, FalseAlarms, Share, Span};

/// Variables with this prefix override settings: `DRIFTLINE__TAP__UPSTREAM`.
pub const ENVIRONMENT_PREFIX: &str = "DRIFTLINE__";

/// Why settings were refused.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The text is not YAML of the expected shape; the message holds line, column and a snippet.
    #[error("{path}: {problem}")]
    Syntax {
        /// The file.
        path: String,
        /// What the parser says, with line and column.
        problem: String,
    },
    /// Single values are fine, but not together.
    #[error("{path}: {}", problems.join("\n"))]
    Contradiction {
        /// The file.
        path: String,
        /// Every contradiction found.
        problems: Vec<String>,
    },
    /// An environment variable that overrides a setting is wrong.
    #[error("{variable}: {problem}")]
    Environment {
        /// Name of the variable.
        variable: String,
        /// What is wrong.
        problem: String,
    },
}

/// Everything the sidecar can be told. Field docs are the reference manual.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where driftline listens.
    pub listen: Listen,
    /// The database; without a URL a private Postgres under `data_dir`.
    pub database: Database,
    /// Folder for everything driftline keeps on disk.
    pub data_dir: PathBuf,
    /// Folder of baseline files, `<model>/<version>.json`.
    pub baselines_dir: PathBuf,
    /// The tap in front of the model server.
    pub tap: Tap,
    /// The monitored models.
    pub models: Vec<ModelSettings>,
    /// Where alerts go, by name.
    pub receivers: BTreeMap<String, Receiver>,
    /// The mail relay.
    pub smtp: Option<Smtp>,
    /// Rule files; globs are relative to the settings file.
    pub rules: Vec<String>,
    /// How long stored things are kept.
    pub retention: Retention,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            database: Database::default(),
            data_dir: PathBuf::from(".driftline"),
            baselines_dir: PathBuf::from("baselines"),
            tap: Tap::default(),
            models: Vec::new(),
            receivers: BTreeMap::new(),
            smtp: None,
            rules: Vec::new(),
            retention: Retention::default(),
        }
    }
}

/// Addresses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// What applications call instead of the model server.
    pub proxy: SocketAddr,
    /// API, metrics, health; loopback unless told otherwise.
    pub admin: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            proxy: SocketAddr::from(([0, 0, 0, 0], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9464)),
        }
    }
}

/// The database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `postgres://…`; absent: a private Postgres under `data_dir`.
    pub url: Option<String>,
    /// Most connections held at once.
    pub connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, connections: 8 }
    }
}

/// The tap.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tap {
    /// The model server, `http://host:port`; absent: no proxy, predictions come through the API.
    pub upstream: Option<String>,
    /// Share of predictions kept, in `(0, 1]`; chosen by hash of the id, so that labels agree.
    pub sample: Share,
    /// Bytes of copied bodies held at once; what does not fit is dropped and counted.
    pub queue_bytes: ByteSize,
    /// Longest copied body; longer ones pass untouched, their copy is cut and counted.
    pub body_limit: ByteSize,
    /// Limit for reaching the upstream; there is no limit on its answer.
    pub connect_timeout: Span,
    /// Request header with the event time (RFC 3339), for replays and batch scoring; off when absent.
    pub event_time_header: Option<String>,
}

impl Default for Tap {
    fn default() -> Self {
        Self {
            upstream: None,
            sample: Share::ALL,
            queue_bytes: ByteSize(64 << 20),
            body_limit: ByteSize(8 << 20),
            connect_timeout: Span(Duration::from_secs(5)),
            event_time_header: None,
        }
    }
}

/// One monitored model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Its name, as in the path of a request.
    pub name: ModelName,
    /// The path of its predictions, where the path does not name the model.
    #[serde(default)]
    pub path: Option<String>,
    /// Names for the columns of an unnamed tensor, in order; absent: those of the baseline.
    #[serde(default)]
    pub features: Vec<String>,
    /// Kinds that overrule what the baseline build would infer.
    #[serde(default)]
    pub kinds: BTreeMap<String, FeatureKind>,
    /// Length of a window; divides a day, or is a multiple of one.
    #[serde(default = "default_window")]
    pub window: Span,
    /// Rhythm of the traffic in UTC: windows are compared with those of the same hour of the day or of the week, in
    /// baselines that are built from now on with event times.
    #[serde(default)]
    pub season: Season,
    /// How long after its end a window waits for late rows.
    #[serde(default = "default_lateness")]
    pub lateness: Span,
    /// False alarms that the model may raise in a period with no drift.
    #[serde(default)]
    pub false_alarms: FalseAlarms,
    /// How p-values are adjusted across features.
    #[serde(default)]
    pub correction: Correction,
    /// Rows below which a window is `insufficient_data`.
    #[serde(default = "default_min_rows")]
    pub min_rows: u64,
    /// Effect that PSI has to reach beside significance.
    #[serde(default = "default_psi_floor")]
    pub psi_floor: f64,
    /// Effect that KS has to reach where PSI is undefined.
    #[serde(default = "default_ks_floor")]
    pub ks_floor: f64,
    /// Share of lost exchanges above which a window is `untrusted`.
    #[serde(default = "default_loss_limit")]
    pub loss_limit: f64,
    /// File of what is expected of its rows and columns; absent: nothing.
    #[serde(default)]
    pub expectations: Option<PathBuf>,
    /// How the model is retrained; absent: never.
    #[serde(default)]
    pub training: Option<Training>,
}

fn default_window() -> Span {
    Span(Duration::from_hours(1))
}

fn default_lateness() -> Span {
    Span(Duration::from_mins(1))
}

fn default_min_rows() -> u64 {
    200
}

fn default_psi_floor() -> f64 {
    0.1
}

fn default_ks_floor() -> f64 {
    0.05
}

fn default_loss_limit() -> f64 {
    0.05
}

/// How a model is retrained.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// What it predicts.
    pub task: Task,
    /// Name of the target.
    pub target: String,
    /// `captured`, or a file.
    #[serde(default = "default_source")]
    pub source: Source,
    /// `auto`, `cpu` or `cuda:N`.
    #[serde(default = "default_device")]
    pub device: String,
    /// Labelled rows below which a run ends `rejected`.
    #[serde(default = "default_min_labels")]
    pub min_labels: u64,
    /// Share of the newest rows held out for the gate.
    #[serde(default = "default_share")]
    pub test_share: f64,
    /// Share of the rows before them used for early stopping and regularisation.
    #[serde(default = "default_share")]
    pub validation_share: f64,
    /// Keep only the newest so many rows.
    #[serde(default)]
    pub max_rows: Option<u64>,
    /// Seeds every random choice.
    #[serde(default)]
    pub seed: u64,
    /// The deep model.
    #[serde(default)]
    pub deep: DeepSpec,
    /// Name of the model server's output; the new baseline watches the new version's answers under it.
    #[serde(default = "default_output")]
    pub output: String,
    /// Folder for artifacts; absent: `artifacts` under `data_dir`.
    #[serde(default)]
    pub artifacts: Option<PathBuf>,
}

fn default_source() -> Source {
    Source::Captured
}

fn default_output() -> String {
    "prediction".to_owned()
}

fn default_share() -> f64 {
    0.2
}

fn default_device() -> String {
    "auto".to_owned()
}

fn default_min_labels() -> u64 {
    500
}

/// Where a message goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Receiver {
    /// E-mail over the relay in `smtp`.
    Email(EmailReceiver),
    /// A webhook in the Standard Webhooks form.
    Webhook(WebhookReceiver),
}

/// Addresses of an e-mail receiver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailReceiver {
    /// Recipients.
    pub to: Vec<String>,
}

/// A webhook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookReceiver {
    /// Where to post.
    pub url: String,
    /// File with the signing secret (`whsec_…` or plain text); absent: not signed.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
}

/// The mail relay.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// Host name of the relay.
    pub host: String,
    /// Port; absent: 25, 587 or 465 by `tls`.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: SmtpTls,
    /// Sender address.
    pub from: String,
    /// User for authentication.
    #[serde(default)]
    pub username: Option<String>,
    /// File with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// File with a PEM certificate authority to trust beside the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Protection of the connection to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// None: for a relay on loopback.
    None,
    /// STARTTLS, required.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
}

/// How long stored things are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Profile parts and loss counts.
    pub profiles: Span,
    /// Captured rows and labels.
    pub captured: Span,
}

impl Default for Retention {
    fn default() -> Self {
        Self { profiles: Span(Duration::from_hours(90 * 24)), captured: Span(Duration::from_hours(90 * 24)) }
    }
}

/// Sets the value that `variable` names; it is read as YAML, so that numbers and lists work.
fn set_path(document: &mut Json, variable: &str, value: &str) -> Result<(), SettingsError> {
    let refuse = |problem: String| SettingsError::Environment { variable: variable.to_owned(), problem };
    let mut at = document;
    let keys = variable[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase();
    for key in keys.split("__") {
        if at.is_null() {
            *at = Json::Object(serde_json::Map::new());
        }
        let Json::Object(map) = at else {
            return Err(refuse(format!("`{key}` lies under something that has no keys")));
        };
        at = map.entry(key).or_insert(Json::Null);
    }
    *at = serde_saphyr::from_str(value).map_err(|error| refuse(error.to_string()))?;
    Ok(())
}

impl Settings {
    /// Reads settings from YAML text and checks them; `path` is only for messages.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] names the place; nothing is defaulted silently.
    pub fn parse(text: &str, path: &str) -> Result<Self, SettingsError> {
        let settings: Self = if text.trim().is_empty() {
            Self::default()
        } else {
            serde_saphyr::from_str(text).map_err(|error| SettingsError::Syntax {
                path: path.to_owned(),
                problem: error.to_string(),
            })?
        };
        let problems = settings.contradictions();
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError::Contradiction { path: path.to_owned(), problems })
        }
    }

    /// Reads settings from YAML text with `DRIFTLINE__SECTION__KEY` variables over it.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] names the place, or the variable.
    pub fn parse_with(
        text: &str,
        path: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let overrides: BTreeMap<String, String> =
            environment.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        // Without overrides the text is read as it stands, so that errors point into it.
        let plain = Self::parse(text, path)?;
        if overrides.is_empty() {
            return Ok(plain);
        }
        let mut document: Json = if text.trim().is_empty() {
            Json::Object(serde_json::Map::new())
        } else {
            serde_saphyr::from_str(text).map_err(|error| SettingsError::Syntax {
                path: path.to_owned(),
                problem: error.to_string(),
            })?
        };
        for (variable, value) in &overrides {
            set_path(&mut document, variable, value)?;
            Self::parse(&document.to_string(), variable)?;
        }
        Self::parse(&document.to_string(), path)
    }

    /// Takes relative paths of the settings as relative to `folder`, where the settings file is.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| {
            if path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        resolve(&mut self.data_dir);
        resolve(&mut self.baselines_dir);
        for rule in &mut self.rules {
            if Path::new(rule).is_relative() {
                *rule = folder.join(&*rule).to_string_lossy().into_owned();
            }
        }
        for receiver in self.receivers.values_mut() {
            if let Receiver::Webhook(WebhookReceiver { secret_file: Some(file), .. }) = receiver {
                resolve(file);
            }
        }
        if let Some(smtp) = &mut self.smtp {
            smtp.password_file.iter_mut().chain(&mut smtp.ca_file).for_each(resolve);
        }
        self.models.iter_mut().filter_map(|model| model.expectations.as_mut()).for_each(resolve);
        for training in self.models.iter_mut().filter_map(|model| model.training.as_mut()) {
            training.artifacts.iter_mut().for_each(resolve);
        }
    }

    /// The settings of `model`, if it is monitored.
    pub fn model(&self, model: &ModelName) -> Option<&ModelSettings> {
        self.models.iter().find(|settings| settings.name == *model)
    }

    /// Rules that span several fields; single-field rules live in the field's type.
    fn contradictions(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.listen.proxy == self.listen.admin && self.listen.proxy.port() != 0 {
            problems.push(format!("`listen.proxy` and `listen.admin` are both {}", self.listen.proxy));
        }
        for (index, model) in self.models.iter().enumerate() {
            let name = &model.name;
            if self.models[..index].iter().any(|other| other.name == *name) {
                problems.push(format!("model `{name}` is listed twice"));
            }
            let seconds = model.window.0.as_secs();
            let day = 86_400;
            if seconds < 60 || !(day % seconds.max(1) == 0 || seconds % day == 0) {
                problems.push(format!(
                    "model `{name}`: window {} must be at least 1m, and divide a day or be a multiple of one",
                    model.window
                ));
            }
            for (field, value) in [
                ("psi_floor", model.psi_floor),
                ("ks_floor", model.ks_floor),
                ("loss_limit", model.loss_limit),
            ] {
                if !(value.is_finite() && value >= 0.0) {
                    problems.push(format!("model `{name}`: {field} {value} is not a number of 0 or more"));
                }
            }
        }
        for (name, receiver) in &self.receivers {
            match receiver {
                Receiver::Email(email) => {
                    if self.smtp.is_none() {
                        problems.push(format!("receiver `{name}` sends e-mail, but `smtp` is not set"));
                    }
                    if email.to.is_empty() {
                        problems.push(format!("receiver `{name}` has no address in `to`"));
                    }
                }
                Receiver::Webhook(webhook) => {
                    if !webhook.url.starts_with("http://") && !webhook.url.starts_with("https://") {
                        problems.push(format!("receiver `{name}`: `{}` is not an http(s) URL", webhook.url));
                    }
                }
            }
        }
        problems
    }
}
