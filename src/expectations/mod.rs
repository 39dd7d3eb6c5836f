//! Expectations: what a model's rows and columns have to look like, declared, counted in the profile and judged.
//!
//! A document ([`Expectations`]) is read from YAML, proposed from a baseline or imported from another monitor. It is
//! compiled onto a baseline's layout ([`Expectations::compile`]); the profile then counts what breaks a check as it
//! records each value. [`evaluate()`] judges those counts, beside the verdict on drift and independent of it: drift asks
//! whether a window differs from the baseline, an expectation whether it is what its owner says it has to be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{FeatureKind, ModelName, Role};
use crate::profile::{CheckRules, Checks, ColumnLayout, Layout, Pattern};
use crate::yaml::hint;

mod binomial;
mod evaluate;
mod file;
mod observe;
mod propose;
mod sagemaker;
mod shapes;
mod words;
mod write;

pub use evaluate::{
    CheckKind, CheckResult, CheckVerdict, DISTINCT_RELATIVE_ERROR, Observed, ObservedColumn, evaluate, worst,
};
pub use propose::{Proposal, ProposeOptions, propose};
pub use sagemaker::{
    ImportError, ImportedColumn, ImportedConstraints, ImportedStatistics, ImportedValues, import_constraints,
    import_statistics,
};

/// Most columns of a document.
pub const MAX_COLUMNS: usize = 10_000;
/// Most allowed values of a column.
pub const MAX_ALLOWED: usize = 100_000;
/// Longest document, in bytes.
pub const MAX_DOCUMENT: usize = 32 << 20;
/// Most unknown columns that come with a suggestion.
const MAX_HINTS: usize = 20;
/// Confidence at which a share has to be over its limit, unless the document says otherwise.
pub const DEFAULT_CONFIDENCE: f64 = 0.999;

/// What values of a column have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedType {
    /// A number.
    Numeric,
    /// A whole number.
    Integer,
    /// A name out of a set.
    Categorical,
    /// A truth value.
    Boolean,
}

impl ExpectedType {
    /// Every word, for suggestions.
    pub const WORDS: [&str; 4] = ["numeric", "integer", "categorical", "boolean"];

    /// The word used in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Integer => "integer",
            Self::Categorical => "categorical",
            Self::Boolean => "boolean",
        }
    }

    /// The kind that a baseline's column of this type has.
    pub fn kind(self) -> FeatureKind {
        match self {
            Self::Numeric | Self::Integer => FeatureKind::Numeric,
            Self::Categorical => FeatureKind::Categorical,
            Self::Boolean => FeatureKind::Boolean,
        }
    }
}

/// A check and the share of values, in `[0, 1)`, that may break it. At 0 a single value violates it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerated<T> {
    /// What is expected.
    pub value: T,
    /// Share of values that may be otherwise.
    pub tolerate: f64,
}

impl<T> Tolerated<T> {
    /// No exception allowed.
    pub fn strictly(value: T) -> Self {
        Self { value, tolerate: 0.0 }
    }
}

/// What is expected of one column. A check that is absent is not made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnExpectation {
    /// Name of the column.
    pub name: String,
    /// Input or output; absent: the input of that name, or else the output.
    pub role: Option<Role>,
    /// What its values are.
    pub expected_type: Option<Tolerated<ExpectedType>>,
    /// Whether a window without a single value in it is a violation.
    pub required: bool,
    /// Greatest share of rows without a value: absent, null or NaN.
    pub missing_max: Option<f64>,
    /// Least value.
    pub min: Option<Tolerated<f64>>,
    /// Greatest value.
    pub max: Option<Tolerated<f64>>,
    /// The only values.
    pub allowed: Option<Tolerated<BTreeSet<String>>>,
    /// What its texts look like.
    pub pattern: Option<Tolerated<Pattern>>,
    /// Least share of distinct values among the values of a window.
    pub unique_min: Option<f64>,
}

impl ColumnExpectation {
    /// No check yet.
    pub fn new(name: impl Into<String>, role: Option<Role>) -> Self {
        Self { name: name.into(), role, ..Self::default() }
    }

    /// The checks that are counted value by value; `None` when there are none.
    fn counted(&self) -> Option<CheckRules> {
        let rules = CheckRules {
            min: self.min.as_ref().map(|min| min.value),
            max: self.max.as_ref().map(|max| max.value),
            integer: self.expected_type.as_ref().is_some_and(|kind| kind.value == ExpectedType::Integer),
            allowed: self.allowed.as_ref().map(|allowed| allowed.value.clone()),
            pattern: self.pattern.as_ref().map(|pattern| pattern.value.clone()),
            distinct: self.unique_min.is_some(),
        };
        (rules != CheckRules::default()).then_some(rules)
    }

    /// Why the checks do not fit a column of `kind`, one sentence each.
    fn misfits(&self, kind: FeatureKind) -> Vec<String> {
        let mut misfits = Vec::new();
        let name = &self.name;
        if let Some(expected) = &self.expected_type
            && expected.value.kind() != kind
        {
            misfits.push(format!(
                "the baseline has `{name}` as {}, not {}: correct `type`, or build the baseline with `--kind \
                 {name}={}`",
                kind.as_str(),
                expected.value.as_str(),
                expected.value.kind().as_str()
            ));
        }
        let numeric = kind == FeatureKind::Numeric;
        for (check, stated, fits) in [
            ("min", self.min.is_some(), numeric),
            ("max", self.max.is_some(), numeric),
            ("pattern", self.pattern.is_some(), !numeric),
        ] {
            if stated && !fits {
                misfits.push(format!("`{check}` cannot be checked on `{name}`, which is {}", kind.as_str()));
            }
        }
        if let Some(allowed) = &self.allowed
            && let Some(value) = allowed.value.iter().find(|value| !fits_kind(value, kind))
        {
            misfits.push(format!("the allowed value `{value}` of `{name}` is not {}", kind.as_str()));
        }
        misfits
    }
}

fn fits_kind(value: &str, kind: FeatureKind) -> bool {
    match kind {
        FeatureKind::Numeric => value.parse::<f64>().is_ok_and(|number| !number.is_nan()),
        FeatureKind::Boolean => matches!(value, "true" | "false"),
        FeatureKind::Categorical => true,
    }
}

/// Everything that is expected of a model's windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectations {
    /// The model; absent: whichever they are given to.
    pub model: Option<ModelName>,
    /// Least number of rows of a window.
    pub rows_min: Option<u64>,
    /// Greatest number of rows of a window.
    pub rows_max: Option<u64>,
    /// How much older than the window's end its newest row may be.
    pub freshness: Option<Duration>,
    /// Confidence, in `[0.5, 1)`, at which a share has to be over a limit above 0; `None`: shares are compared plainly.
    pub confidence: Option<f64>,
    /// Its columns, in the document's order.
    pub columns: Vec<ColumnExpectation>,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            model: None,
            rows_min: None,
            rows_max: None,
            freshness: None,
            confidence: Some(DEFAULT_CONFIDENCE),
            columns: Vec::new(),
        }
    }
}

/// The expectations of the models that have any.
pub type ByModel = BTreeMap<ModelName, Expectations>;

/// Expectations on the columns of one layout, ready to count with.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// What profiles are stamped with: [`Expectations::counting_version`].
    pub version: u64,
    /// The checks of each column, in the layout's order.
    pub columns: Vec<Option<Arc<Checks>>>,
}

impl Expectations {
    /// Names the whole content: the first 12 hexadecimal digits of the SHA-256 of its canonical form.
    pub fn version(&self) -> String {
        format!("{:012x}", digest(self) >> 16)
    }

    /// Names the part of the content that changes what is counted.
    ///
    /// A tolerance, the number of rows or the order of columns changes how counts are judged, and not the counts:
    /// counts made before such an edit stay good.
    pub fn counting_version(&self) -> u64 {
        let mut columns: Vec<ColumnExpectation> = self
            .columns
            .iter()
            .filter(|column| column.counted().is_some())
            .map(|column| ColumnExpectation {
                name: column.name.clone(),
                role: column.role,
                expected_type: column
                    .expected_type
                    .as_ref()
                    .filter(|expected| expected.value == ExpectedType::Integer)
                    .map(|expected| Tolerated::strictly(expected.value)),
                min: column.min.as_ref().map(|min| Tolerated::strictly(min.value)),
                max: column.max.as_ref().map(|max| Tolerated::strictly(max.value)),
                allowed: column.allowed.as_ref().map(|allowed| Tolerated::strictly(allowed.value.clone())),
                pattern: column.pattern.as_ref().map(|pattern| Tolerated::strictly(pattern.value.clone())),
                unique_min: column.unique_min.map(|_| 1.0),
                ..ColumnExpectation::default()
            })
            .collect();
        columns.sort_by(|left, right| (left.role, &left.name).cmp(&(right.role, &right.name)));
        digest(&Self { columns, ..Self::default() })
    }

    /// Compiles the checks for the columns of `layout`.
    ///
    /// Expectations of columns that the layout lacks, or that do not fit their kind, are left out here and named by
    /// [`misfits`](Self::misfits); [`evaluate()`] reports them as unknown.
    pub fn compile(&self, layout: &Layout) -> Compiled {
        let mut columns = vec![None; layout.columns().len()];
        let index =
            ColumnIndex::new(layout.columns().iter().map(|column| (column.role, column.name.as_str())));
        for expectation in &self.columns {
            if let Some(at) = index.find(expectation)
                && let Some(rules) = expectation.counted()
            {
                columns[at] = Some(Arc::new(Checks::new(&rules, &layout.columns()[at].cut)));
            }
        }
        Compiled { version: self.counting_version(), columns }
    }

    /// What of this document cannot be checked on `layout`: unknown columns, with a suggestion, and checks that do not
    /// fit a column's kind.
    pub fn misfits(&self, layout: &Layout) -> Vec<String> {
        let known: &[ColumnLayout] = layout.columns();
        let index = ColumnIndex::new(known.iter().map(|column| (column.role, column.name.as_str())));
        let mut misfits = Vec::new();
        let mut claimed: HashMap<usize, &str> = HashMap::new();
        for expectation in &self.columns {
            let Some(at) = index.find(expectation) else {
                let what = expectation.role.map_or("column", Role::as_str);
                // Nobody reads a thousand suggestions, and each looks at every column.
                let near = if misfits.len() < MAX_HINTS {
                    hint(&expectation.name, known.iter().map(|column| column.name.as_str()))
                } else {
                    String::new()
                };
                misfits.push(format!("the baseline has no {what} `{}`{near}", expectation.name));
                continue;
            };
            if claimed.insert(at, &expectation.name).is_some() {
                misfits.push(format!("`{}` stands under `columns` and under its role", expectation.name));
            }
            misfits.extend(expectation.misfits(known[at].kind));
        }
        misfits
    }
}

fn digest(expectations: &Expectations) -> u64 {
    let digest = Sha256::digest(write::yaml(expectations, &write::Remarks::default()));
    digest.iter().take(8).fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
}

/// Where each column of a layout or a window stands.
struct ColumnIndex<'a>(HashMap<(Role, &'a str), usize>);

impl<'a> ColumnIndex<'a> {
    fn new(columns: impl Iterator<Item = (Role, &'a str)>) -> Self {
        Self(columns.enumerate().map(|(index, key)| (key, index)).collect())
    }

    /// The column that an expectation is about.
    fn find(&self, expectation: &ColumnExpectation) -> Option<usize> {
        let find = |role| self.0.get(&(role, expectation.name.as_str())).copied();
        match expectation.role {
            Some(role) => find(role),
            None => find(Role::Feature).or_else(|| find(Role::Output)),
        }
    }
}

#[cfg(test)]
mod tests;
