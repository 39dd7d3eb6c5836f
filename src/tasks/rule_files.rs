//! Rule files: found by the patterns of the settings, read together, and taken up again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::alert::{Fault, Problem, RuleChanges, RuleSet};
use crate::config::Settings;
use crate::metrics::WatchMetrics;
use crate::tasks::Faults;

/// How often the files are looked at. Contents are compared, and not times, so that the links of a Kubernetes
/// `ConfigMap` and files of another clock are no special case.
const POLL: Duration = Duration::from_secs(2);

/// Longest rule file.
const MAX_FILE: u64 = 16 << 20;

/// Most rule files.
const MAX_FILES: usize = 1_000;

/// Problems that an alert names; the log names all.
const MAX_TOLD: usize = 5;

/// The rules in force, for whoever judges by them.
pub type RulesInForce = watch::Receiver<Arc<RuleSet>>;

/// The texts of all rule files, by path, in the order of the patterns.
type Texts = Vec<(String, String)>;

/// Reads the rule files that the settings name.
///
/// # Errors
///
/// Every problem of every file, each with its place.
pub fn load_rules(settings: &Settings) -> anyhow::Result<RuleSet> {
    parse(settings, &read(settings)?)
}

fn parse(settings: &Settings, files: &Texts) -> anyhow::Result<RuleSet> {
    let refuse = |problems: Vec<Problem>| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the rules were refused:\n{}", lines.join("\n"))
    };
    let rules = RuleSet::parse(files).map_err(refuse)?;
    let receivers: Vec<String> = settings.receivers.keys().cloned().collect();
    rules.check_receivers(&receivers).map_err(refuse)?;
    settings.routing.check_labels(&rules).map_err(refuse)?;
    let segmented = settings.models.iter().map(|model| (model.name.clone(), !model.segments.is_empty()));
    rules.check_segments(&segmented.collect::<Vec<_>>()).map_err(refuse)?;
    Ok(rules)
}

fn read(settings: &Settings) -> anyhow::Result<Texts> {
    let mut files = Vec::new();
    for pattern in &settings.rules {
        let paths = matching(Path::new(pattern))?;
        if paths.is_empty() {
            bail!("`rules`: `{pattern}` matches no file");
        }
        for path in paths {
            let unread = || format!("failed to read `{}`", path.display());
            let length = std::fs::metadata(&path).with_context(unread)?.len();
            if length > MAX_FILE {
                bail!("`{}` has {length} bytes; a rule file has at most {MAX_FILE}", path.display());
            }
            files.push((path.display().to_string(), std::fs::read_to_string(&path).with_context(unread)?));
            if files.len() > MAX_FILES {
                bail!("`rules`: more than {MAX_FILES} files");
            }
        }
    }
    Ok(files)
}

/// The files that a pattern names: itself, or those in its folder that fit a last component such as `*.yaml`.
/// Files that end in `.test.yaml` are tests of rules, not rules.
fn matching(pattern: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((prefix, suffix)) = name.split_once('*') else { return Ok(vec![pattern.to_owned()]) };
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("failed to read the folder `{}`", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(prefix) && name.ends_with(suffix) && !name.ends_with(".test.yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a look at the files found: their content by hash, or why they cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Read([u8; 32]),
    Unreadable(String),
}

/// Takes up rule files that change while the sidecar runs: all of them or none.
#[derive(Debug)]
pub struct RuleReload {
    settings: Arc<Settings>,
    /// The settings file, if there is one, and its content when the sidecar started.
    settings_file: Option<(PathBuf, Option<Vec<u8>>)>,
    in_force: watch::Sender<Arc<RuleSet>>,
    /// What the rules in force, or the last refused ones, were read from.
    settled: Look,
    asked: Arc<Notify>,
    metrics: Arc<WatchMetrics>,
    faults: Faults,
}

impl RuleReload {
    /// Reads the rules to begin with; `asked` is notified when a person asks for a reload.
    ///
    /// # Errors
    ///
    /// As [`load_rules`].
    pub fn begin(
        settings: Arc<Settings>,
        asked: Arc<Notify>,
        metrics: Arc<WatchMetrics>,
        faults: Faults,
    ) -> anyhow::Result<Self> {
        let (settled, texts) = look(&settings);
        let rules = parse(&settings, &texts?)?;
        metrics.rules.set(count(&rules));
        let (in_force, _) = watch::channel(Arc::new(rules));
        Ok(Self { settings, settings_file: None, in_force, settled, asked, metrics, faults })
    }

    /// Also says when the settings file at `path` changes.
    pub fn watch_file(&mut self, path: &Path) {
        self.settings_file = Some((path.to_owned(), std::fs::read(path).ok()));
    }

    /// The rules in force, now and later.
    pub fn rules(&self) -> RulesInForce {
        self.in_force.subscribe()
    }

    /// Looks at the files until shutdown.
    ///
    /// A change is taken up when two looks in a row find the same, so that a file which is being written is not read by
    /// halves; at once when a person asked.
    ///
    /// # Errors
    ///
    /// When reading panics.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut last = None;
        loop {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.asked.notified() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            let settings = Arc::clone(&self.settings);
            let (look, texts) = tokio::task::spawn_blocking(move || look(&settings)).await?;
            let steady = last.as_ref() == Some(&look);
            if asked || (steady && self.settled != look) {
                self.take_up(texts).await?;
                self.settled = look.clone();
            }
            last = Some(look);
            self.watch_settings(asked);
        }
    }

    /// Puts rules in force, or says why not.
    async fn take_up(&self, texts: anyhow::Result<Texts>) -> anyhow::Result<()> {
        let settings = Arc::clone(&self.settings);
        let parsed = tokio::task::spawn_blocking(move || texts.and_then(|texts| parse(&settings, &texts)));
        match parsed.await? {
            Ok(rules) => {
                let changes = RuleChanges::between(&self.in_force.borrow(), &rules);
                let rules = Arc::new(rules);
                self.in_force.send_replace(Arc::clone(&rules));
                tracing::info!(rules = rules.rules.len(), changes = %changes, "rules are in force");
                self.metrics.rules.set(count(&rules));
                self.metrics.reload_failed.set(0);
                self.metrics.reloads.with_label_values(&["loaded"]).inc();
                self.faults.set(Fault::RulesReloadFailed, None);
            }
            Err(error) => {
                self.metrics.reload_failed.set(1);
                self.metrics.reloads.with_label_values(&["refused"]).inc();
                let text = format!("{error:#}");
                let problems: Vec<&str> =
                    text.lines().filter(|line| *line != "the rules were refused:").collect();
                for problem in &problems {
                    tracing::error!(problem, "rule files were refused, the rules before them stay in force");
                }
                self.faults.set(Fault::RulesReloadFailed, Some(told(&problems)));
            }
        }
        Ok(())
    }

    /// Says once that the settings file changed: unlike rules, settings are read at start only.
    fn watch_settings(&mut self, asked: bool) {
        let Some((path, known)) = &mut self.settings_file else { return };
        let Ok(content) = std::fs::read(&*path) else { return };
        let changed = known.as_ref() != Some(&content);
        if changed {
            tracing::warn!(
                file = %path.display(),
                "the settings changed; they are read at start only, and only the files of `rules` are taken up later"
            );
            *known = Some(content);
        } else if asked {
            tracing::info!("asked to reload: rule files were read, settings are read at start only");
        }
    }
}

fn count(rules: &RuleSet) -> i64 {
    i64::try_from(rules.rules.len()).unwrap_or(i64::MAX)
}

/// The first problems, on one line.
fn told(problems: &[&str]) -> String {
    let text = problems.iter().take(MAX_TOLD).copied().collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(MAX_TOLD) {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

fn look(settings: &Settings) -> (Look, anyhow::Result<Texts>) {
    let texts = read(settings);
    let look = match &texts {
        Ok(texts) => {
            let mut hasher = Sha256::new();
            for part in texts.iter().flat_map(|(path, text)| [path, text]) {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
            Look::Read(hasher.finalize().into())
        }
        Err(error) => Look::Unreadable(format!("{error:#}")),
    };
    (look, texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_rules_but_not_their_tests() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yaml", "a.test.yaml", "notes.md"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = matching(&folder.path().join("*.yaml")).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.yaml", "b.yaml"]);
    }

    #[test]
    fn a_look_sees_contents_names_and_what_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let pattern = path("*.yaml").display().to_string();
        let mut settings = Settings::default();
        settings.rules = vec![pattern];
        assert!(matches!(look(&settings).0, Look::Unreadable(why) if why.contains("matches no file")));
        std::fs::write(path("a.yaml"), "x").unwrap();
        let first = look(&settings).0;
        assert_eq!(look(&settings).0, first);
        std::fs::write(path("b.yaml"), "").unwrap();
        assert_ne!(look(&settings).0, first);
        std::fs::remove_file(path("b.yaml")).unwrap();
        assert_eq!(look(&settings).0, first);
        std::fs::write(path("a.yaml"), [0xff]).unwrap();
        assert!(matches!(look(&settings).0, Look::Unreadable(why) if why.contains("a.yaml")));
    }

    #[test]
    fn an_alert_names_the_first_problems() {
        assert_eq!(told(&["a", "b"]), "a; b");
        assert_eq!(told(&["a", "b", "c", "d", "e", "f", "g"]), "a; b; c; d; e; and 2 more");
    }
}
