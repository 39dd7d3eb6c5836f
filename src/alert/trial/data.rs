//! Windows of a test that are given as rows: counted on a baseline and judged as the sidecar does.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{MAX_WINDOWS, RuleTest, time_text};
use crate::baseline::{self, Baseline, Blocks, BuildOptions, CutOptions, SourceColumn};
use crate::drift::{self, DriftReport, Losses};
use crate::model::{Batch, Column, FeatureKind, Role};
use crate::profile::Profile;
use crate::window::{Window, window_index};

/// Opens what a test file names, relative to it.
pub trait Files {
    /// The rows of a data file, with the event times of its column `time` where one is named.
    ///
    /// # Errors
    ///
    /// In words that name the file.
    fn rows(&self, path: &str, time: Option<&str>) -> Result<Rows, String>;

    /// The text of a file.
    ///
    /// # Errors
    ///
    /// In words that name the file.
    fn text(&self, path: &str) -> Result<String, String>;
}

/// The rows of a data file.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Its columns, each with a value per row.
    pub columns: Vec<Column>,
    /// An event time per row, where they were asked for.
    pub times: Option<Vec<DateTime<Utc>>>,
}

/// What windows of rows are compared with: a baseline document, or data to build one from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reference {
    pub(super) line: u64,
    pub(super) path: String,
    pub(super) time: Option<String>,
    pub(super) outputs: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) kinds: BTreeMap<String, FeatureKind>,
}

/// Data files: with a column of times cut into windows, without one a window each.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DataWindows {
    pub(super) line: u64,
    pub(super) files: Vec<(String, u64)>,
    pub(super) time: Option<String>,
}

/// A problem and its line.
pub(super) type Failed = (u64, String);

impl Reference {
    /// Reads or builds the baseline, as `driftline baseline build` does.
    pub(super) fn baseline(&self, test: &RuleTest, files: &impl Files) -> Result<Baseline, Failed> {
        let failed = |message: String| (self.line, format!("`{}`: {message}", self.path));
        if Path::new(&self.path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            let document = files.text(&self.path).map_err(|message| (self.line, message))?;
            return Baseline::from_json(&document).map_err(|error| failed(error.to_string()));
        }
        let rows = files.rows(&self.path, self.time.as_deref()).map_err(|message| (self.line, message))?;
        let named = self.outputs.iter().chain(&self.exclude).chain(self.kinds.keys());
        for name in named {
            if !rows.columns.iter().any(|column| column.name == *name) {
                let near = crate::yaml::hint(name, rows.columns.iter().map(|column| column.name.as_str()));
                return Err(failed(format!("there is no column `{name}`{near}")));
            }
        }
        let of_row: Option<Vec<i64>> =
            rows.times.map(|times| times.into_iter().map(|time| window_index(time, test.window)).collect());
        let watched = |column: &&Column| {
            let name = column.name.as_str();
            !self.exclude.iter().any(|other| other == name) && self.time.as_deref() != Some(name)
        };
        let is_output = |name: &str| self.outputs.iter().any(|other| other == name);
        let role = |name: &str| if is_output(name) { Role::Output } else { Role::Feature };
        let mut columns: Vec<SourceColumn<'_>> = rows
            .columns
            .iter()
            .filter(watched)
            .map(|column| SourceColumn {
                name: &column.name,
                role: role(&column.name),
                kind: self.kinds.get(column.name.as_str()).copied(),
                values: &column.values,
            })
            .collect();
        columns.sort_by_key(|column| column.role == Role::Output);
        let options = BuildOptions {
            model: test.model.clone(),
            source: self.path.clone(),
            cut: CutOptions::default(),
            joint: true,
        };
        let blocks = of_row.as_deref().map(|of_row| Blocks { of_row, cycle: None });
        baseline::build(&columns, blocks, options).map_err(|error| failed(error.to_string()))
    }
}

impl DataWindows {
    /// The reports of its windows, oldest first; `next` is where a window without times begins.
    pub(super) fn reports(
        &self,
        test: &RuleTest,
        baseline: &Baseline,
        mut next: DateTime<Utc>,
        files: &impl Files,
    ) -> Result<Vec<DriftReport>, Failed> {
        let mut windows: BTreeMap<Window, Profile> = BTreeMap::new();
        for (path, line) in &self.files {
            let rows = files.rows(path, self.time.as_deref()).map_err(|message| (*line, message))?;
            if let Some(times) = &rows.times {
                for (window, chosen) in rows_by_window(times, test.window) {
                    let profile = windows.entry(window).or_insert_with(|| Profile::empty(baseline.layout()));
                    profile.record(baseline.layout(), &batch(&rows.columns, Some(&chosen), baseline));
                    if windows.len() > MAX_WINDOWS {
                        return Err((*line, format!("expected at most {MAX_WINDOWS} windows in a test")));
                    }
                }
            } else {
                let window = Window::holding(next, test.window);
                let mut profile = Profile::empty(baseline.layout());
                profile.record(baseline.layout(), &batch(&rows.columns, None, baseline));
                windows.insert(window, profile);
                next = window.end;
            }
        }
        windows
            .iter()
            .map(|(window, profile)| {
                let rows = profile.rows();
                let losses = Losses { seen: rows, kept: rows, ..Losses::default() };
                drift::evaluate(baseline, profile, losses, *window, &test.criteria)
                    .map_err(|error| (self.line, format!("the window {}: {error}", time_text(window.start))))
            })
            .collect()
    }
}

/// The row numbers of every window that has rows.
fn rows_by_window(times: &[DateTime<Utc>], length: Duration) -> BTreeMap<Window, Vec<usize>> {
    let mut found: BTreeMap<Window, Vec<usize>> = BTreeMap::new();
    for (row, time) in times.iter().enumerate() {
        found.entry(Window::holding(*time, length)).or_default().push(row);
    }
    found
}

/// The chosen rows, or all of them, as an exchange would bring them.
fn batch(columns: &[Column], chosen: Option<&[usize]>, baseline: &Baseline) -> Batch {
    let layout = baseline.layout().columns();
    let side = |role: Role| -> Vec<Column> {
        columns
            .iter()
            .filter(|column| layout.iter().any(|known| known.role == role && known.name == column.name))
            .map(|column| Column {
                name: column.name.clone(),
                values: match chosen {
                    None => column.values.clone(),
                    Some(rows) => rows.iter().filter_map(|row| column.values.get(*row).cloned()).collect(),
                },
            })
            .collect()
    };
    let rows = chosen.map_or_else(|| columns.first().map_or(0, |column| column.values.len()), <[usize]>::len);
    Batch { rows, features: side(Role::Feature), outputs: side(Role::Output) }
}
