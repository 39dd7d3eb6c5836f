//! Settings: typed, checked, every problem reported with its place.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;
use thiserror::Error;

use crate::alert::{CANARY_RECEIVER, Problem, Routing, RoutingSections};
use crate::model::{ModelName, Role};
use crate::yaml::Node;

mod admin;
mod canary;
mod format;
mod labels;
mod metrics;
mod model;
mod performance;
mod privacy;
mod receivers;
mod sources;
mod sink;
mod tap;
mod traces;
mod units;

pub use admin::Admin;
pub use canary::Canary;
pub use labels::Labels;
pub use metrics::ExportedMetrics;
pub use model::{ModelSettings, Training};
pub use performance::Performance;
pub use privacy::{KeepOrHash, Mask, Privacy};
pub use receivers::{
    AlertmanagerReceiver, Channel, ChatReceiver, EmailReceiver, Limit, PagerdutyReceiver, Receiver, Relays,
    Smtp, SmtpTls, Templates, WebhookFormat, WebhookReceiver,
};
pub use sink::Sink;
pub use sources::{
    BrokerUrl, FileColumns, FileFormat, FileSource, KafkaSource, NatsSource, RabbitSource, SourceName,
    SourceSettings, StartAt,
};
pub use tap::{ListenerTls, Tap, TapRoute, UpstreamProtocol, UpstreamTls};
pub use traces::Traces;
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
    /// Who is told what is not clear.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Routing {
        /// Every problem, by line.
        problems: Vec<Problem>,
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
    /// Who may use the API and the page.
    pub admin: Admin,
    /// The database; without a URL a private Postgres under `data_dir`.
    pub database: Database,
    /// Folder for everything driftline keeps on disk.
    pub data_dir: PathBuf,
    /// Folder of baseline files, `<model>/<version>.json`.
    pub baselines_dir: PathBuf,
    /// The tap in front of the model server.
    pub tap: Tap,
    /// What predictions are read from beside the tap.
    pub sources: Vec<SourceSettings>,
    /// Messages that are pushed, streamed or read from files.
    pub sink: Sink,
    /// What is dropped, hashed or masked, for all models.
    pub privacy: Privacy,
    /// The monitored models.
    pub models: Vec<ModelSettings>,
    /// Where alerts go, by name.
    pub receivers: BTreeMap<String, Receiver>,
    /// The mail relays.
    pub smtp: Relays,
    /// Rule files; globs are relative to the settings file.
    pub rules: Vec<String>,
    /// How often the watch itself is put on trial.
    pub canary: Canary,
    /// The tree of routes by which alerts find their receivers; without it every model's alerts go to all of them.
    route: Option<Node>,
    /// Which alerts silence which; without it a dead upstream silences the drift of its model.
    inhibit: Option<Node>,
    /// Times in which alerts are not told.
    maintenance: Option<Node>,
    /// `route`, `inhibit` and `maintenance`, checked.
    #[serde(skip)]
    pub routing: Routing,
    /// How long stored things are kept.
    pub retention: Retention,
    /// What is exported to Prometheus.
    pub metrics: ExportedMetrics,
    /// Where traces go; off without an endpoint.
    pub traces: Traces,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            admin: Admin::default(),
            database: Database::default(),
            data_dir: PathBuf::from(".driftline"),
            baselines_dir: PathBuf::from("baselines"),
            tap: Tap::default(),
            sources: Vec::new(),
            sink: Sink::default(),
            privacy: Privacy::default(),
            models: Vec::new(),
            receivers: BTreeMap::new(),
            smtp: Relays::default(),
            rules: Vec::new(),
            canary: Canary::default(),
            route: None,
            inhibit: None,
            maintenance: None,
            routing: Routing::default(),
            retention: Retention::default(),
            metrics: ExportedMetrics::default(),
            traces: Traces::default(),
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
    /// File with the password of `url`; read at start.
    pub password_file: Option<PathBuf>,
    /// Most connections held at once; the admin port has four more of its own.
    pub connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, password_file: None, connections: 8 }
    }
}

/// How long stored things are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Profile parts and loss counts.
    pub profiles: Span,
    /// Captured rows and labels.
    pub captured: Span,
    /// Who was told of which alert when, messages that were sent, acknowledgements, silences that are over, and reports on
    /// performance.
    pub history: Span,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Span(Duration::from_hours(days * 24));
        Self { profiles: days(90), captured: days(90), history: days(365) }
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
        let mut settings: Self = if text.trim().is_empty() {
            Self::default()
        } else {
            serde_saphyr::from_str(text).map_err(|error| SettingsError::Syntax {
                path: path.to_owned(),
                problem: error.to_string(),
            })?
        };
        let sections = RoutingSections {
            route: settings.route.take(),
            inhibit: settings.inhibit.take(),
            maintenance: settings.maintenance.take(),
        };
        let receivers: Vec<String> = settings.receivers.keys().cloned().collect();
        settings.routing =
            sections.read(path, &receivers).map_err(|problems| SettingsError::Routing { problems })?;
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
        self.database.password_file.iter_mut().for_each(resolve);
        self.tap.paths_mut().for_each(resolve);
        for rule in &mut self.rules {
            if Path::new(rule).is_relative() {
                *rule = folder.join(&*rule).to_string_lossy().into_owned();
            }
        }
        self.receivers.values_mut().flat_map(Receiver::paths_mut).for_each(resolve);
        self.smtp.paths_mut().for_each(resolve);
        self.sources.iter_mut().for_each(|source| source.resolve_paths(folder));
        self.sink.token_file.iter_mut().for_each(resolve);
        self.models.iter_mut().filter_map(|model| model.expectations.as_mut()).for_each(resolve);
        self.privacy.key_file.iter_mut().for_each(resolve);
        let of_models = self.models.iter_mut().filter_map(|model| model.privacy.as_mut());
        of_models.filter_map(|privacy| privacy.key_file.as_mut()).for_each(resolve);
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
        if self.database.password_file.is_some() && self.database.url.is_none() {
            problems.push("`database.password_file` is of no use without `database.url`".to_owned());
        }
        problems.extend(self.tap.contradictions(|name| self.model(name).is_some()));
        for (index, model) in self.models.iter().enumerate() {
            let name = &model.name;
            if *name == ModelName::own() {
                problems.push(format!("model `{name}`: the name is driftline's own; choose another one"));
            }
            if self.models[..index].iter().any(|other| other.name == *name) {
                problems.push(format!("model `{name}` is listed twice"));
            }
            let labels = model.labels.as_ref().map(Labels::problems).unwrap_or_default();
            problems.extend(labels.into_iter().map(|problem| format!("model `{name}`: {problem}")));
            let performance =
                model.performance.as_ref().map(|performance| performance.problems(model)).unwrap_or_default();
            problems.extend(performance.into_iter().map(|problem| format!("model `{name}`: {problem}")));
            let training = model.training.as_ref().map(Training::problems).unwrap_or_default();
            problems.extend(training.into_iter().map(|problem| format!("model `{name}`: {problem}")));
            let seconds = model.window.0.as_secs();
            let day = 86_400;
            if seconds < 60 || !(day % seconds.max(1) == 0 || seconds % day == 0) {
                problems.push(format!(
                    "model `{name}`: window {} must be at least 1m, and divide a day or be a multiple of one",
                    model.window
                ));
            }
            for (at, column) in model.schema.iter().enumerate() {
                if column.role == Role::Derived {
                    problems.push(format!("model `{name}`: `schema[{at}]`: `role` is `feature` or `output`"));
                }
                if model.schema[..at]
                    .iter()
                    .any(|other| other.role == column.role && other.name == column.name)
                {
                    problems
                        .push(format!("model `{name}`: `schema[{at}]`: `{}` is listed twice", column.name));
                }
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
            let privacy = self.privacy.rules_with(&model.privacy.clone().unwrap_or_default());
            let of_segments = model::segments(model, &privacy);
            problems.extend(of_segments.into_iter().map(|problem| format!("model `{name}`: {problem}")));
            if let Some(format) = &model.format {
                let of_format = format::contradictions(format, &model.features);
                problems.extend(of_format.into_iter().map(|problem| format!("model `{name}`: {problem}")));
            }
        }
        let models: Vec<ModelName> = self.models.iter().map(|model| model.name.clone()).collect();
        problems.extend(sources::contradictions(&self.sources, &models));
        problems.extend(self.sink.contradictions(&models));
        problems.extend(model::aliases(&self.models));
        problems.extend(self.privacy.contradictions(&self.models));
        problems.extend(self.smtp.contradictions());
        problems.extend(self.admin.contradictions());
        problems.extend(self.metrics.contradictions());
        problems.extend(self.traces.contradictions());
        for (name, receiver) in &self.receivers {
            if name == CANARY_RECEIVER {
                problems.push(format!("receiver `{name}`: the name is driftline's own; choose another one"));
            }
            problems.extend(receiver.contradictions(name, &self.smtp));
        }
        problems
    }
}
