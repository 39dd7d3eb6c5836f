//! A window of a test that is given as figures, under the names that rules have for them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::read::{Entry, count, entries, number, share, time, word};
use super::segment::{self, SegmentFigures};
use crate::alert::traffic_names;
use crate::alert::vocabulary::STATISTICS;
use crate::drift::Verdict;
use crate::model::{FeatureKind, Role};
use crate::traffic::{Compared, Figure, TrafficVerdict};
use crate::yaml::{Fields, Node, Reader, Yaml, hint};

/// Keys of a window of figures; those of rows from files are not among them.
pub(super) const KEYS: [&str; 12] = [
    "at",
    "repeat",
    "rows",
    "n_reference",
    "verdict",
    "loss_share",
    "violations",
    "schema_changes",
    "traffic",
    "columns",
    "outputs",
    "segments",
];
const COLUMN_KEYS: [&str; 7] = ["verdict", "p", "n", "n_reference", "violations", "role", "kind"];

/// The verdicts on a window, a column or a segment.
pub(super) const VERDICTS: [Verdict; 4] =
    [Verdict::Ok, Verdict::Drift, Verdict::InsufficientData, Verdict::Untrusted];

/// One or several equal windows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    pub(super) line: u64,
    /// Start of the first one; absent: the end of the window before.
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) repeat: usize,
    pub(super) rows: u64,
    pub(super) n_reference: u64,
    /// Absent: `drift` when a column has it, else `ok`.
    pub(super) verdict: Option<Verdict>,
    pub(super) loss_share: f64,
    /// Violated checks of the window itself, beside those of columns.
    pub(super) violations: u64,
    pub(super) schema_changes: u64,
    /// Absent: the tap saw nothing.
    pub(super) traffic: Option<TrafficFigures>,
    pub(super) columns: Vec<ColumnFigures>,
    pub(super) segments: Vec<SegmentFigures>,
}

/// The traffic of a window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrafficFigures {
    pub(super) verdict: TrafficVerdict,
    pub(super) figures: BTreeMap<Figure, Compared>,
}

/// One input or output of a window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ColumnFigures {
    pub(super) name: String,
    pub(super) role: Role,
    /// False where the window is said not to hold the column.
    pub(super) is_there: bool,
    pub(super) kind: FeatureKind,
    pub(super) verdict: Verdict,
    pub(super) p: Option<f64>,
    /// Absent: all rows.
    pub(super) n: Option<u64>,
    pub(super) n_reference: Option<u64>,
    pub(super) violations: u64,
    pub(super) statistics: BTreeMap<String, f64>,
}

impl ColumnFigures {
    /// The column in a window that says nothing of it.
    pub(super) fn calm(&self) -> Self {
        Self {
            is_there: true,
            verdict: Verdict::Ok,
            p: None,
            n: None,
            violations: 0,
            statistics: BTreeMap::new(),
            ..self.clone()
        }
    }
}

/// Reads one entry of `windows` whose keys are known.
pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>, line: u64) -> Figures {
    let columns = [("columns", Role::Feature), ("outputs", Role::Output)]
        .into_iter()
        .filter_map(|(key, role)| Some((fields.get(key)?, key, role)))
        .flat_map(|(node, key, role)| {
            entries(reader, node, key).into_iter().map(move |entry| (entry, role)).collect::<Vec<_>>()
        })
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|(entry, role)| column(reader, &entry, role))
        .collect();
    let segments = fields.get("segments").map(|node| entries(reader, node, "segments")).unwrap_or_default();
    let segments = segments.iter().filter_map(|entry| segment::read(reader, entry)).collect();
    Figures {
        line,
        at: fields.get("at").and_then(|node| time(reader, node, "at")),
        repeat: fields.get("repeat").map_or(1, |node| repeat(reader, node)),
        rows: fields.get("rows").and_then(|node| count(reader, node, "rows")).unwrap_or(1000),
        n_reference: fields
            .get("n_reference")
            .and_then(|node| count(reader, node, "n_reference"))
            .unwrap_or(10_000),
        verdict: fields.get("verdict").and_then(|node| verdict(reader, node)),
        loss_share: fields
            .get("loss_share")
            .and_then(|node| share(reader, node, "loss_share"))
            .unwrap_or_default(),
        violations: counted(reader, fields, "violations"),
        schema_changes: counted(reader, fields, "schema_changes"),
        traffic: fields.get("traffic").map(|node| traffic(reader, node)),
        columns,
        segments,
    }
}

/// Most findings of a kind that a test makes up.
const MAX_FINDINGS: u64 = 10_000;

fn counted(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> u64 {
    let Some(node) = fields.get(key) else { return 0 };
    let found = count(reader, node, key).unwrap_or_default();
    if found > MAX_FINDINGS {
        reader.problem(node.line, format!("`{key}`: expected at most {MAX_FINDINGS}, found {found}"));
        return 0;
    }
    found
}

/// How many equal windows or minutes.
pub(super) fn repeat(reader: &mut Reader<'_>, node: &Node) -> usize {
    let most = super::MAX_WINDOWS;
    let found = count(reader, node, "repeat").and_then(|found| usize::try_from(found).ok());
    match found {
        Some(found) if (1..=most).contains(&found) => found,
        Some(found) => {
            reader.problem(node.line, format!("`repeat`: expected 1 to {most}, found {found}"));
            1
        }
        None => 1,
    }
}

fn verdict(reader: &mut Reader<'_>, node: &Node) -> Option<Verdict> {
    word(reader, node, "verdict", &VERDICTS, Verdict::as_str)
}

/// Reads one column.
pub(super) fn column(reader: &mut Reader<'_>, entry: &Entry<'_>, role: Role) -> Option<ColumnFigures> {
    let calm = ColumnFigures {
        name: entry.name.to_owned(),
        role,
        is_there: true,
        kind: FeatureKind::Numeric,
        verdict: Verdict::Ok,
        p: None,
        n: None,
        n_reference: None,
        violations: 0,
        statistics: BTreeMap::new(),
    };
    if entry.node.value == Yaml::Null {
        return Some(ColumnFigures { is_there: false, ..calm });
    }
    let known: Vec<&str> = COLUMN_KEYS.into_iter().chain(STATISTICS).collect();
    let fields = reader.fields(entry.node, &format!("the column `{}`", entry.name), &known)?;
    let statistics = STATISTICS
        .into_iter()
        .filter_map(|name| {
            let value = number(reader, fields.get(name)?, name)?;
            Some((name.to_owned(), value))
        })
        .collect();
    let derived = fields.get("role").and_then(|node| {
        let known = [Role::Feature, Role::Output, Role::Derived];
        word(reader, node, "role", &known, Role::as_str)
    });
    let kinds = [FeatureKind::Numeric, FeatureKind::Categorical, FeatureKind::Boolean];
    let whole =
        |reader: &mut Reader<'_>, key: &str| fields.get(key).and_then(|node| count(reader, node, key));
    Some(ColumnFigures {
        role: derived.unwrap_or(role),
        kind: fields
            .get("kind")
            .and_then(|node| word(reader, node, "kind", &kinds, FeatureKind::as_str))
            .unwrap_or(FeatureKind::Numeric),
        verdict: fields.get("verdict").and_then(|node| verdict(reader, node)).unwrap_or(Verdict::Ok),
        p: fields.get("p").and_then(|node| share(reader, node, "p")),
        n: whole(reader, "n"),
        n_reference: whole(reader, "n_reference"),
        violations: counted(reader, &fields, "violations"),
        statistics,
        ..calm
    })
}

/// Figures of the traffic by the names of rules, without `traffic.`: `upstream_p99`, `baseline.upstream_p99`,
/// `ratio.upstream_p99`, `p.upstream_p99`, and `verdict`.
pub(super) fn traffic(reader: &mut Reader<'_>, node: &Node) -> TrafficFigures {
    let mut found = TrafficFigures { verdict: TrafficVerdict::Ok, figures: BTreeMap::new() };
    let mut extras: Vec<(Figure, &'static str, f64, u64)> = Vec::new();
    for entry in entries(reader, node, "traffic") {
        if entry.name == "verdict" {
            let all = [
                TrafficVerdict::Ok,
                TrafficVerdict::Worse,
                TrafficVerdict::InsufficientData,
                TrafficVerdict::Unknown,
            ];
            if let Some(verdict) = word(reader, entry.node, "traffic.verdict", &all, TrafficVerdict::as_str) {
                found.verdict = verdict;
            }
            continue;
        }
        let (part, name) = entry.name.split_once('.').unwrap_or(("", entry.name));
        let part = ["", "baseline", "ratio", "p"].into_iter().find(|known| *known == part);
        let figure = Figure::ALL.into_iter().find(|figure| figure.as_str() == name);
        let Some((part, figure)) = part.zip(figure) else {
            let full = format!("{}{}", traffic_names::PREFIX, entry.name);
            let names = traffic_names::variables().map(|variable| variable.name);
            let near = hint(&full, names).replace(traffic_names::PREFIX, "");
            reader.problem(entry.line, format!("unknown key `{}` in `traffic`{near}", entry.name));
            continue;
        };
        let Some(value) = number(reader, entry.node, &format!("traffic.{}", entry.name)) else { continue };
        if part.is_empty() {
            found.figures.insert(figure, Compared { value, baseline: None, ratio: None, p: None });
        } else {
            extras.push((figure, part, value, entry.line));
        }
    }
    for (figure, part, value, line) in extras {
        let Some(compared) = found.figures.get_mut(&figure) else {
            let name = figure.as_str();
            reader.problem(line, format!("`traffic.{part}.{name}`: expected `{name}` beside it"));
            continue;
        };
        match part {
            "baseline" => compared.baseline = Some(value),
            "ratio" => compared.ratio = Some(value),
            _ => compared.p = Some(value),
        }
    }
    for compared in found.figures.values_mut() {
        let quotient = compared.baseline.filter(|baseline| *baseline > 0.0).map(|b| compared.value / b);
        compared.ratio = compared.ratio.or(quotient);
    }
    found
}
