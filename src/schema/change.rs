//! A window's columns against those that are expected: what is new, gone, renamed, of another kind or another width.

use serde::{Deserialize, Serialize};

use super::seen::{Seen, SeenSide};
use super::{Expected, Holds};
use crate::model::Role;
use crate::profile::{Layout, Profile};

/// How the columns of a window differ from what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A column that nobody expected.
    New,
    /// An expected column that not one row had.
    Gone,
    /// One is gone and one is new in its place: perhaps the same under another name.
    Renamed,
    /// At least half of its values are of another kind.
    Kind,
    /// A vector has another number of elements, so that none of its columns has its name.
    Width,
}

impl Change {
    /// Every kind of difference.
    pub const ALL: [Self; 5] = [Self::New, Self::Gone, Self::Renamed, Self::Kind, Self::Width];

    /// The word used in reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Renamed => "renamed",
            Self::Kind => "kind",
            Self::Width => "width",
        }
    }
}

/// One difference, with its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    /// What it is.
    pub change: Change,
    /// Input or output.
    pub role: Role,
    /// The column, by the name that is expected, or the new one's.
    pub column: String,
    /// What was expected: a kind, or a number of columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found: a kind, a name, or a number of columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Rows that show it.
    pub rows: u64,
    /// Of these.
    pub of_rows: u64,
}

impl SchemaChange {
    /// The difference in one sentence.
    pub fn sentence(&self) -> String {
        let Self { role, column, rows, of_rows, .. } = self;
        let role = if *role == Role::Output { "output" } else { "input" };
        let expected = self.expected.as_deref().unwrap_or("something else");
        let found = self.found.as_deref().unwrap_or("always missing");
        match self.change {
            Change::New => format!("{role} `{column}` is new ({found}), in {rows} of {of_rows} rows"),
            Change::Gone => format!("{role} `{column}` ({expected}) is gone from all {of_rows} rows"),
            Change::Renamed => {
                format!(
                    "{role} `{column}` is gone and `{found}` is new in its place, in {rows} of {of_rows} rows; perhaps it was renamed"
                )
            }
            Change::Kind => format!(
                "{role} `{column}` is to be {expected} and is not ({found}) in {rows} of {of_rows} rows with a value"
            ),
            Change::Width => format!(
                "the {role}s came as `{column}` with {found} columns instead of {expected}, in {rows} of {of_rows} rows"
            ),
        }
    }
}

/// How the columns of a window differ from `expected`; nothing when it has no rows.
///
/// # Arguments
///
/// * `expected`: what was approved, else the columns of `layout`.
/// * `profile`: the window's profile, made on `layout`.
/// * `seen`: what the same rows had beside the columns of `layout`.
pub fn changes(expected: &[Expected], layout: &Layout, profile: &Profile, seen: &Seen) -> Vec<SchemaChange> {
    let mut changes = Vec::new();
    for role in [Role::Feature, Role::Output] {
        let of_role: Vec<&Expected> = expected.iter().filter(|column| column.role == role).collect();
        let side = seen.side(role);
        // Outputs of which nothing is expected are not watched; a model without inputs is none.
        if side.rows == 0 || of_role.is_empty() {
            continue;
        }
        changes.extend(of_side(role, &of_role, layout, profile, side));
    }
    changes
}

fn of_side(
    role: Role,
    expected: &[&Expected],
    layout: &Layout,
    profile: &Profile,
    side: &SeenSide,
) -> Vec<SchemaChange> {
    let change = |change, column: &str, expected: Option<String>, found: Option<String>, rows| SchemaChange {
        change,
        role,
        column: column.to_owned(),
        expected,
        found,
        rows,
        of_rows: side.rows,
    };
    let kind = |holds: Holds| Some(holds.as_str().to_owned());
    let mut gone: Vec<(usize, &Expected)> = Vec::new();
    let mut kinds = Vec::new();
    for (position, column) in expected.iter().enumerate() {
        if is_gone(column, layout, side) {
            if !column.optional {
                gone.push((position, column));
            }
        } else if let Some((rows, of_rows, found)) = of_another_kind(column, layout, profile, side) {
            let found = found.and_then(kind).unwrap_or_else(|| "another kind".to_owned());
            let found = change(Change::Kind, &column.name, kind(column.kind), Some(found), rows);
            kinds.push(SchemaChange { of_rows, ..found });
        }
    }
    let mut new: Vec<(&str, &super::Extra)> = side
        .extra
        .iter()
        .filter(|(name, _)| !expected.iter().any(|column| column.name == **name))
        .map(|(name, extra)| (name.as_str(), extra))
        .collect();
    new.sort_by_key(|(_, extra)| extra.position);
    if gone.len() == expected.len()
        && expected.len() > 1
        && let Some(base) = one_vector(&new)
    {
        let width = if side.more == 0 { new.len().to_string() } else { format!("more than {}", new.len()) };
        let rows = new.iter().map(|(_, extra)| extra.rows).max().unwrap_or(0);
        return vec![change(Change::Width, base, Some(expected.len().to_string()), Some(width), rows)];
    }
    let mut changes = Vec::new();
    for (position, column) in gone {
        let alike = new
            .iter()
            .position(|(_, extra)| extra.position == position && extra.holds() == Some(column.kind));
        changes.push(if let Some(at) = alike {
            let (name, extra) = new.remove(at);
            change(Change::Renamed, &column.name, kind(column.kind), Some(name.to_owned()), extra.rows)
        } else {
            change(Change::Gone, &column.name, kind(column.kind), None, side.rows)
        });
    }
    changes.extend(kinds);
    changes.extend(
        new.iter()
            .map(|(name, extra)| change(Change::New, name, None, extra.holds().and_then(kind), extra.rows)),
    );
    if side.more > 0 {
        changes.push(change(
            Change::New,
            "and others",
            None,
            Some("not told apart".to_owned()),
            side.more.min(side.rows),
        ));
    }
    changes
}

/// Whether not one row had the column.
fn is_gone(column: &Expected, layout: &Layout, side: &SeenSide) -> bool {
    if layout.has(column.role, &column.name) {
        side.absent.get(&column.name).is_some_and(|rows| *rows >= side.rows)
    } else {
        // Past the bound nobody knows which columns there were.
        side.more == 0 && !side.extra.contains_key(&column.name)
    }
}

/// Rows of another kind, of those with a value, where they are at least half; and what they are, when it is known.
fn of_another_kind(
    column: &Expected,
    layout: &Layout,
    profile: &Profile,
    side: &SeenSide,
) -> Option<(u64, u64, Option<Holds>)> {
    let index = layout.columns().iter().position(|held| held.role == column.role && held.name == column.name);
    let (wrong, values, found) = if let Some(index) = index {
        let counts = profile.columns().get(index)?;
        let counted_as = Holds::from(layout.columns()[index].kind);
        let values = counts.usable() + counts.nan + counts.wrong_type;
        // What is counted as one kind tells nothing about another.
        (if counted_as == column.kind { counts.wrong_type } else { 0 }, values, None)
    } else {
        let extra = side.extra.get(&column.name)?;
        let of_kind = |holds: &Holds| extra.kinds[holds.index()];
        let all: u64 = extra.kinds.iter().sum();
        let fitting: u64 = Holds::ALL.iter().filter(|holds| column.kind.takes(**holds)).map(of_kind).sum();
        (all - fitting, all, extra.holds())
    };
    (wrong > 0 && wrong * 2 >= values).then_some((wrong, values, found))
}

/// The name of the vector that all of `columns` are elements of.
fn one_vector<'n>(columns: &[(&'n str, &super::Extra)]) -> Option<&'n str> {
    let base = |name: &'n str| name.strip_suffix(']')?.rsplit_once('[').map(|(base, _)| base);
    let (first, rest) = columns.split_first()?;
    let vector = base(first.0)?;
    rest.iter().all(|(name, _)| base(name) == Some(vector)).then_some(vector)
}
