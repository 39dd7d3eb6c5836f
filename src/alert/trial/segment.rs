//! Segments of a window that is given as figures.

use super::figures::{self, ColumnFigures, VERDICTS};
use super::read::{Entry, count, entries, word};
use super::window;
use crate::drift::{ComparedWith, Criteria, SegmentReport, Verdict};
use crate::model::Role;
use crate::yaml::{Reader, Yaml};

const KEYS: [&str; 6] = ["rows", "n_reference", "verdict", "drifted", "columns", "outputs"];

/// One segment of a window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SegmentFigures {
    pub(super) name: String,
    /// False where the window is said not to hold it.
    pub(super) is_there: bool,
    rows: u64,
    n_reference: u64,
    verdict: Verdict,
    drifted: usize,
    columns: Vec<ColumnFigures>,
}

impl SegmentFigures {
    /// The segment in a window that says nothing of it.
    pub(super) fn calm(&self) -> Self {
        Self { is_there: true, verdict: Verdict::Ok, drifted: 0, columns: Vec::new(), ..self.clone() }
    }
}

/// Reads one entry of `segments`.
pub(super) fn read(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<SegmentFigures> {
    if !entry.name.contains('=') {
        let message = format!("`segments.{}`: expected a key such as `region=eu`", entry.name);
        reader.problem(entry.line, message);
        return None;
    }
    let calm = SegmentFigures {
        name: entry.name.to_owned(),
        is_there: true,
        rows: 300,
        n_reference: 3000,
        verdict: Verdict::Ok,
        drifted: 0,
        columns: Vec::new(),
    };
    if entry.node.value == Yaml::Null {
        return Some(SegmentFigures { is_there: false, ..calm });
    }
    let fields = reader.fields(entry.node, &format!("the segment `{}`", entry.name), &KEYS)?;
    let mut columns = Vec::new();
    for (key, role) in [("columns", Role::Feature), ("outputs", Role::Output)] {
        let found = fields.get(key).map(|node| entries(reader, node, key)).unwrap_or_default();
        columns.extend(found.iter().filter_map(|entry| figures::column(reader, entry, role)));
    }
    let mut whole = |key: &str| fields.get(key).and_then(|node| count(reader, node, key));
    let (rows, n_reference, drifted) = (whole("rows"), whole("n_reference"), whole("drifted"));
    let of_columns = columns.iter().filter(|column| column.verdict == Verdict::Drift).count();
    let usual = if of_columns > 0 { Verdict::Drift } else { Verdict::Ok };
    let verdict =
        fields.get("verdict").and_then(|node| word(reader, node, "verdict", &VERDICTS, Verdict::as_str));
    Some(SegmentFigures {
        rows: rows.unwrap_or(calm.rows),
        n_reference: n_reference.unwrap_or(calm.n_reference),
        verdict: verdict.unwrap_or(usual),
        drifted: drifted.and_then(|drifted| usize::try_from(drifted).ok()).unwrap_or(of_columns),
        columns,
        ..calm
    })
}

/// The report on a segment; its columns in the order of what decides over them.
pub(super) fn report(figures: &SegmentFigures, criteria: &Criteria) -> SegmentReport {
    let mut features: Vec<_> = figures
        .columns
        .iter()
        .filter(|column| column.is_there)
        .map(|column| window::feature(column, (figures.rows, figures.n_reference), criteria))
        .collect();
    let psi =
        |column: &crate::drift::FeatureReport| column.statistics.get("psi").copied().unwrap_or_default();
    features.sort_by(|left, right| psi(right).total_cmp(&psi(left)));
    SegmentReport {
        segment: figures.name.clone(),
        column: figures.name.split('=').next().unwrap_or_default().to_owned(),
        rows: figures.rows,
        rows_reference: figures.n_reference,
        compared_with: ComparedWith::Segment,
        verdict: figures.verdict,
        reason: "as the test says".to_owned(),
        columns: features.len().max(figures.drifted),
        drifted: figures.drifted,
        features,
    }
}
