//! What a column's values are expected to be, compiled for counting: limits, allowed values, a pattern.
//!
//! The checks of a column are compiled once, when a layout gets its expectations. Counting then looks at each value
//! once, as it is recorded, and allocates nothing: no second pass over the data is needed to judge them.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::hash::mix;
use super::{Categories, Cut};

/// Longest pattern, in characters.
pub const MAX_PATTERN: usize = 1_000;

/// Longest text that is searched, in bytes; a longer one counts as not matching.
pub const MAX_TEXT: usize = 10_000;

/// Memory that a compiled pattern may take, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// Deepest nesting of groups in a pattern.
const PATTERN_NESTING: u32 = 50;

/// A regular expression that is searched for in texts, in time linear in the text.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern. It is searched anywhere in a text; `^` and `$` anchor it.
    ///
    /// # Errors
    ///
    /// In words, when the pattern is empty, longer than [`MAX_PATTERN`], no regular expression, or too large once
    /// compiled. Look-around and back-references are not known, since they cannot be searched in linear time.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected a pattern, found an empty text".to_owned());
        }
        if text.chars().count() > MAX_PATTERN {
            return Err(format!("expected a pattern of at most {MAX_PATTERN} characters"));
        }
        RegexBuilder::new(text)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES)
            .nest_limit(PATTERN_NESTING)
            .build()
            .map(Self)
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    "expected a smaller pattern: its repetitions multiply to too much".to_owned()
                }
                other => {
                    // The parser draws the pattern with a marker under it; its last line says what is wrong.
                    let text = other.to_string();
                    let last = text.lines().last().unwrap_or_default().trim();
                    format!("expected a regular expression: {}", last.trim_start_matches("error: "))
                }
            })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it occurs in `text`, which is at most [`MAX_TEXT`] bytes long.
    pub fn matches(&self, text: &str) -> bool {
        text.len() <= MAX_TEXT && self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}

/// What is expected of the values of one column, as far as it is counted value by value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CheckRules {
    /// Least value, numeric columns.
    pub min: Option<f64>,
    /// Greatest value, numeric columns.
    pub max: Option<f64>,
    /// Whether only whole numbers are expected, numeric columns.
    pub integer: bool,
    /// The only values expected, as the text of the category, or of the number on a numeric column.
    pub allowed: Option<BTreeSet<String>>,
    /// What texts look like, categorical columns.
    pub pattern: Option<Pattern>,
    /// Whether the distinct values of a numeric column are counted; those of others always are.
    pub distinct: bool,
}

/// Values that broke a check. Each counter looks at the usable values of a column once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CheckCounts {
    /// Under the least value expected.
    pub under_min: u64,
    /// Over the greatest value expected.
    pub over_max: u64,
    /// Not one of the allowed values.
    pub not_allowed: u64,
    /// Not like the pattern.
    pub no_match: u64,
    /// Not a whole number.
    pub not_integer: u64,
}

impl CheckCounts {
    /// Number of counters.
    pub const LEN: usize = 5;

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.add_times(other, 1);
    }

    /// Adds the counts of `other` as if they had been made `times` over.
    pub fn add_times(&mut self, other: &Self, times: u64) {
        let sum = |own: u64, more: u64| own.saturating_add(more.saturating_mul(times));
        *self = Self {
            under_min: sum(self.under_min, other.under_min),
            over_max: sum(self.over_max, other.over_max),
            not_allowed: sum(self.not_allowed, other.not_allowed),
            no_match: sum(self.no_match, other.no_match),
            not_integer: sum(self.not_integer, other.not_integer),
        };
    }

    /// The counters in a fixed order, for the stored form; a counter added later goes to the end.
    pub fn to_array(self) -> [u64; Self::LEN] {
        [self.under_min, self.over_max, self.not_allowed, self.no_match, self.not_integer]
    }

    /// The counters from [`to_array`](Self::to_array).
    pub fn from_array(counts: [u64; Self::LEN]) -> Self {
        let [under_min, over_max, not_allowed, no_match, not_integer] = counts;
        Self { under_min, over_max, not_allowed, no_match, not_integer }
    }
}

/// Whether a text is one of the allowed values and looks like the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TextFaults {
    not_allowed: bool,
    no_match: bool,
}

/// The checks of one column, compiled for its cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Checks {
    min: f64,
    max: f64,
    integer: bool,
    allowed_numbers: Option<HashSet<u64>>,
    allowed: Option<HashSet<String>>,
    pattern: Option<Pattern>,
    distinct: bool,
    /// What is wrong with the category of each cell; the cells `other` and `unseen` hold many and are not in it.
    cells: Vec<TextFaults>,
}

impl Checks {
    /// Compiles `rules` for a column that is cut as `cut`.
    ///
    /// On a numeric column the pattern is left out, and so are allowed values that are not numbers; on a categorical or
    /// boolean one the limits are. Nothing is lost silently: expectations that do not fit a column are reported when
    /// they are bound to it.
    pub fn new(rules: &CheckRules, cut: &Cut) -> Self {
        let mut checks = Self {
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
            integer: false,
            allowed_numbers: None,
            allowed: None,
            pattern: None,
            distinct: false,
            cells: Vec::new(),
        };
        match cut {
            Cut::Grid(_) => {
                checks.min = rules.min.unwrap_or(f64::NEG_INFINITY);
                checks.max = rules.max.unwrap_or(f64::INFINITY);
                checks.integer = rules.integer;
                checks.distinct = rules.distinct;
                checks.allowed_numbers = rules.allowed.as_ref().map(|allowed| {
                    allowed.iter().filter_map(|text| text.parse().ok()).map(number_key).collect()
                });
            }
            Cut::Categories(categories) => {
                checks.allowed = rules.allowed.as_ref().map(|allowed| allowed.iter().cloned().collect());
                checks.pattern.clone_from(&rules.pattern);
                checks.cells = checks.judge_cells(categories);
            }
        }
        checks
    }

    fn judge_cells(&self, categories: &Categories) -> Vec<TextFaults> {
        let named = categories.cells().saturating_sub(2);
        (0..named).map(|cell| self.judge(&categories.label(cell))).collect()
    }

    fn judge(&self, text: &str) -> TextFaults {
        TextFaults {
            not_allowed: self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(text)),
            no_match: self.pattern.as_ref().is_some_and(|pattern| !pattern.matches(text)),
        }
    }

    /// Whether distinct numbers are counted.
    pub fn distinct(&self) -> bool {
        self.distinct
    }

    /// Counts one value of a numeric column, an infinity too; NaN is not a value and is passed over.
    pub fn count_number(&self, counts: &mut CheckCounts, value: f64) {
        if value.is_nan() {
            return;
        }
        counts.under_min += u64::from(value < self.min);
        counts.over_max += u64::from(value > self.max);
        // The fraction of an infinity is NaN, which is not 0: it is no whole number.
        counts.not_integer += u64::from(self.integer && value.fract() != 0.0);
        if let Some(allowed) = &self.allowed_numbers {
            counts.not_allowed += u64::from(!allowed.contains(&number_key(value)));
        }
    }

    /// Counts one category of which only the text is known.
    pub fn count_text(&self, counts: &mut CheckCounts, text: &str) {
        Self::add(counts, self.judge(text));
    }

    /// Counts one category that fell into `cell`. A frequent category was judged when the checks were compiled, so that
    /// this costs no search.
    pub fn count_category(&self, counts: &mut CheckCounts, cell: usize, text: &str) {
        let faults = self.cells.get(cell).copied().unwrap_or_else(|| self.judge(text));
        Self::add(counts, faults);
    }

    fn add(counts: &mut CheckCounts, faults: TextFaults) {
        counts.not_allowed += u64::from(faults.not_allowed);
        counts.no_match += u64::from(faults.no_match);
    }
}

/// Equal numbers have equal keys; 0 and −0 are equal.
fn number_key(value: f64) -> u64 {
    (value + 0.0).to_bits()
}

/// A hash of a number that never changes: what is stored depends on it. Equal numbers have equal hashes.
pub(super) fn number_hash(value: f64) -> u64 {
    // 0 is where the mix stands still.
    mix(number_key(value) ^ 0x9E37_79B9_7F4A_7C15)
}

/// Which expectations the counts of a profile were made with.
///
/// Merging is associative and commutative, with [`Nothing`](Self::Nothing) as its identity and
/// [`Mixed`](Self::Mixed) absorbing, so that parts give the same in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountedWith {
    /// No row was counted yet.
    #[default]
    Nothing,
    /// Rows were counted while there were no expectations.
    Without,
    /// Every row was counted with the expectations of this version.
    Version(u64),
    /// Rows were counted with different expectations, or only some of them with any.
    Mixed,
}

impl CountedWith {
    /// What rows of `self` and rows of `other` together were counted with.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, known) | (known, Self::Nothing) => known,
            (left, right) if left == right => left,
            _ => Self::Mixed,
        }
    }

    /// A tag and a version, for the stored form.
    pub fn to_parts(self) -> (u64, u64) {
        match self {
            Self::Nothing => (0, 0),
            Self::Without => (1, 0),
            Self::Version(version) => (2, version),
            Self::Mixed => (3, 0),
        }
    }

    /// What [`to_parts`](Self::to_parts) stored; `None` for a tag that does not exist.
    pub fn from_parts(tag: u64, version: u64) -> Option<Self> {
        match tag {
            0 => Some(Self::Nothing),
            1 => Some(Self::Without),
            2 => Some(Self::Version(version)),
            3 => Some(Self::Mixed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Grid;
    use super::*;

    fn categories(names: &[&str], top: usize) -> Cut {
        let counts = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
        Cut::Categories(Categories::choose(&counts, top))
    }

    fn grid() -> Cut {
        Cut::Grid(Grid::cut(&[0.0, 1.0], 10))
    }

    #[test]
    fn numbers_are_counted_against_their_limits() {
        let rules = CheckRules {
            min: Some(-1.0),
            max: Some(2.0),
            integer: true,
            allowed: Some(["0", "1", "1.5", "x"].map(str::to_owned).into()),
            pattern: Some(Pattern::parse("a").unwrap()),
            distinct: false,
        };
        let checks = Checks::new(&rules, &grid());
        for (value, expected) in [
            (0.0, [0, 0, 0, 0, 0]),
            (-0.0, [0, 0, 0, 0, 0]),
            (1.5, [0, 0, 0, 0, 1]),
            (2.0, [0, 0, 1, 0, 0]),
            (-1.0, [0, 0, 1, 0, 0]),
            (-1.5, [1, 0, 1, 0, 1]),
            (f64::INFINITY, [0, 1, 1, 0, 1]),
            (f64::NEG_INFINITY, [1, 0, 1, 0, 1]),
            (f64::NAN, [0, 0, 0, 0, 0]),
            (5e-324, [0, 0, 1, 0, 1]),
        ] {
            let mut counts = CheckCounts::default();
            checks.count_number(&mut counts, value);
            assert_eq!(counts.to_array(), expected, "{value}");
        }
        let mut counts = CheckCounts::default();
        Checks::new(&CheckRules::default(), &grid()).count_number(&mut counts, 1e300);
        assert_eq!(counts, CheckCounts::default());
    }

    #[test]
    fn a_cell_says_the_same_as_its_text() {
        let names = ["AB-1", "AB-2", "ab-3", "CD-4"];
        let cut = categories(&names, 3);
        let rules = CheckRules {
            min: Some(1.0),
            allowed: Some(["AB-1", "ab-3"].map(str::to_owned).into()),
            pattern: Some(Pattern::parse("^[A-Z]{2}-[0-9]+$").unwrap()),
            ..CheckRules::default()
        };
        let checks = Checks::new(&rules, &cut);
        let Cut::Categories(categories) = &cut else { panic!("{cut:?}") };
        assert_eq!(checks.cells.len(), 3);
        for (text, not_allowed, no_match) in
            [("AB-1", 0, 0), ("AB-2", 1, 0), ("ab-3", 0, 1), ("CD-4", 1, 0), ("AB-1\n", 1, 1)]
        {
            let (mut by_cell, mut by_text) = (CheckCounts::default(), CheckCounts::default());
            checks.count_category(&mut by_cell, categories.cell(text), text);
            checks.count_text(&mut by_text, text);
            assert_eq!(by_cell, by_text, "{text}");
            let expected = CheckCounts { not_allowed, no_match, ..CheckCounts::default() };
            assert_eq!(by_text, expected, "{text}");
        }
    }

    #[test]
    fn patterns_are_bounded() {
        for (text, problem) in [
            ("", "empty"),
            ("(", "unclosed group"),
            ("a{1000}{1000}", "smaller pattern"),
            (&"(".repeat(100), "unclosed"),
            (&format!("{}a{}", "(".repeat(60), ")".repeat(60)), "nested"),
            (&"a".repeat(1_001), "1000 characters"),
            (r"(?=a)", "look-around"),
            (r"(a)\1", "backreference"),
        ] {
            let found = Pattern::parse(text).unwrap_err();
            assert!(found.contains(problem) && !found.contains('\n'), "{text}: {found}");
        }
        let pattern = Pattern::parse(r"^\p{L}+\d*$").unwrap();
        assert!(pattern.matches("straße7") && !pattern.matches("7"));
        let any = Pattern::parse("a").unwrap();
        assert!(any.matches(&"a".repeat(MAX_TEXT)) && !any.matches(&"a".repeat(MAX_TEXT + 1)));
    }

    fn counted_with() -> impl Strategy<Value = CountedWith> {
        prop_oneof![
            Just(CountedWith::Nothing),
            Just(CountedWith::Without),
            (0..3_u64).prop_map(CountedWith::Version),
            Just(CountedWith::Mixed),
        ]
    }

    proptest! {
        #[test]
        fn merging_is_associative_and_commutative(a in counted_with(), b in counted_with(), c in counted_with()) {
            prop_assert_eq!(a.merge(b), b.merge(a));
            prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
            prop_assert_eq!(a.merge(CountedWith::Nothing), a);
            prop_assert_eq!(a.merge(a), a);
            prop_assert_eq!(a.merge(CountedWith::Mixed), CountedWith::Mixed);
            let (tag, version) = a.to_parts();
            prop_assert_eq!(CountedWith::from_parts(tag, version), Some(a));
        }

        #[test]
        fn counts_merge_by_addition(values in prop::collection::vec(-5.0..5.0_f64, 0..60), cut in 0..60_usize) {
            let rules = CheckRules { min: Some(-2.0), max: Some(3.0), integer: true, ..CheckRules::default() };
            let checks = Checks::new(&rules, &grid());
            let count = |values: &[f64]| {
                let mut counts = CheckCounts::default();
                for &value in values {
                    checks.count_number(&mut counts, value);
                }
                counts
            };
            let (left, right) = values.split_at(cut.min(values.len()));
            let (mut forward, mut backward) = (count(left), count(right));
            forward.merge(&count(right));
            backward.merge(&count(left));
            prop_assert_eq!(forward, count(&values));
            prop_assert_eq!(backward, forward);
            prop_assert_eq!(CheckCounts::from_array(forward.to_array()), forward);
        }
    }

    #[test]
    fn different_versions_are_mixed() {
        let (one, two) = (CountedWith::Version(1), CountedWith::Version(2));
        assert_eq!(one.merge(two), CountedWith::Mixed);
        assert_eq!(one.merge(CountedWith::Without), CountedWith::Mixed);
        assert_eq!(CountedWith::from_parts(4, 0), None);
    }
}
