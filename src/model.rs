//! Names, kinds and values: the words that every other module speaks.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A name that was refused, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{name}` is not a model name: {reason}")]
pub struct BadModelName {
    name: String,
    reason: &'static str,
}

/// The name of a monitored model: 1 to 128 characters, letters, digits, `.`, `_`, `-`; never starts with `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

impl ModelName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    ///
    /// [`BadModelName`] when the name is empty, too long, starts with `.` or holds another character.
    pub fn parse(name: impl Into<String>) -> Result<Self, BadModelName> {
        let name = name.into();
        let reason = if name.is_empty() {
            Some("it is empty")
        } else if name.len() > 128 {
            Some("it is longer than 128 characters")
        } else if name.starts_with('.') {
            Some("it starts with a dot")
        } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            Some("only letters, digits, `.`, `_` and `-` are allowed")
        } else {
            None
        };
        match reason {
            Some(reason) => Err(BadModelName { name, reason }),
            None => Ok(Self(name)),
        }
    }

    /// The name under which driftline tells of itself; no monitored model may have it.
    pub fn own() -> Self {
        Self("driftline".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ModelName {
    type Error = BadModelName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(name)
    }
}

impl std::str::FromStr for ModelName {
    type Err = BadModelName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// A quantity: compared on a grid of quantile cells.
    Numeric,
    /// A name out of a set: compared by category.
    Categorical,
    /// True or false: two categories.
    Boolean,
}

impl FeatureKind {
    /// The word used in files, tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Categorical => "categorical",
            Self::Boolean => "boolean",
        }
    }
}

/// Where a column comes from: whether it goes into the model, comes out of it, or is computed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An input of the model.
    Feature,
    /// An output of the model.
    Output,
    /// Computed by driftline from several columns of a row; never on the wire nor in a file. Reported like an input.
    Derived,
}

impl Role {
    /// The word used in files, tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Output => "output",
            Self::Derived => "derived",
        }
    }
}

/// One value of one column of one row, as it stood on the wire or in the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent or null.
    Missing,
    /// A number, NaN and the infinities included.
    Number(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// Anything that is not a scalar (array, object, bytes): counted, never interpreted.
    Opaque,
}

/// `null`, a number, a truth value or a text; `{"number": "NaN"}` (`inf`, `-inf`) for what JSON has no number for, and
/// `{"opaque": null}`.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing => serializer.serialize_unit(),
            Self::Number(number) if number.is_finite() => serializer.serialize_f64(*number),
            Self::Number(number) => Odd::Number(number.to_string()).serialize(serializer),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Opaque => Odd::Opaque(()).serialize(serializer),
        }
    }
}

/// Values that JSON has no word for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Odd {
    Number(String),
    Opaque(()),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Missing,
            Number(f64),
            Bool(bool),
            Text(String),
            Odd(Odd),
        }
        Ok(match Any::deserialize(deserializer)? {
            Any::Missing => Self::Missing,
            Any::Number(number) => Self::Number(number),
            Any::Bool(value) => Self::Bool(value),
            Any::Text(text) => Self::Text(text),
            Any::Odd(Odd::Number(number)) => Self::Number(number.parse().map_err(D::Error::custom)?),
            Any::Odd(Odd::Opaque(())) => Self::Opaque,
        })
    }
}

/// Reads RFC 3339, `YYYY-MM-DD[ HH:MM:SS[.f]]` with a blank or `T` (taken as UTC), or seconds since 1970.
pub fn parse_time(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::Text(text) => parse_time_text(text),
        Value::Number(seconds) if seconds.is_finite() =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "out-of-range values saturate and are refused"
            )]
            DateTime::from_timestamp_millis((seconds * 1000.0) as i64)
        }
        _ => None,
    }
}

/// Reads the texts that [`parse_time`] reads.
pub fn parse_time_text(text: &str) -> Option<DateTime<Utc>> {
    // Looking for a dash first spares most texts three parsers.
    if text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc)).ok().or_else(|| {
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
            .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
            .map(|naive| naive.and_utc())
    })
}

/// The name of a column, shared by all exchanges that have it: a copy takes no memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<&String> for Name {
    fn from(name: &String) -> Self {
        Self(name.as_str().into())
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, other: &String) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<Name> for String {
    fn eq(&self, other: &Name) -> bool {
        **self == *other.0
    }
}

/// Names of columns in their order, shared as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Name>", into = "Vec<Name>")]
pub struct NameList {
    names: Arc<[Name]>,
    /// Found out once, and not for every exchange.
    repeats: bool,
}

impl NameList {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a name occurs twice.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    /// The same names, shared with nobody: threads that count references to the same names wait for each other.
    #[must_use]
    pub fn unshared(&self) -> Self {
        let names = self.names.iter().map(|name| Name::from(name.as_str())).collect();
        Self { names, repeats: self.repeats }
    }
}

impl Deref for NameList {
    type Target = [Name];

    fn deref(&self) -> &[Name] {
        &self.names
    }
}

impl<N: Into<Name>> From<Vec<N>> for NameList {
    fn from(names: Vec<N>) -> Self {
        names.into_iter().collect()
    }
}

impl From<NameList> for Vec<Name> {
    fn from(names: NameList) -> Self {
        names.names.to_vec()
    }
}

impl<N: Into<Name>> FromIterator<N> for NameList {
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        let names: Arc<[Name]> = names.into_iter().map(Into::into).collect();
        let mut seen = HashSet::with_capacity(names.len());
        let repeats = !names.iter().all(|name| seen.insert(name.as_str()));
        Self { names, repeats }
    }
}

/// One column of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Name as configured, on the wire or in the file.
    pub name: Name,
    /// One value per row.
    pub values: Vec<Value>,
}

/// The rows of one exchange, column by column. Every column holds exactly `rows` values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// What went into the model.
    pub features: Vec<Column>,
    /// What came out of it; empty when the answer could not be aligned with the rows.
    pub outputs: Vec<Column>,
}

/// One decoded exchange: what the profile and the capture see.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Identifies the exchange; a row is `{id}` when there is one row, else `{id}_{i}`.
    pub id: String,
    /// The model that was asked.
    pub model: ModelName,
    /// The model version that answered, when the answer says so.
    pub model_version: Option<String>,
    /// When the prediction happened.
    pub event_time: DateTime<Utc>,
    /// The decoded rows.
    pub batch: Batch,
    /// Further ids of the exchange, by which labels find its rows as well.
    pub other_ids: Vec<String>,
}

impl Exchange {
    /// The id of row `index`, by which labels find it.
    pub fn row_id(&self, index: usize) -> String {
        if self.batch.rows == 1 { self.id.clone() } else { format!("{}_{index}", self.id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_are_checked() {
        for good in ["bike-demand", "m", "a.b_c-1", &"x".repeat(128)] {
            assert!(ModelName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "a/b", "a b", "é", &"x".repeat(129)] {
            assert!(ModelName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_of_names_knows_whether_one_comes_twice() {
        assert!(!NameList::default().repeats());
        assert!(!NameList::from(vec!["a", "b"]).repeats());
        let twice = NameList::from(vec!["a", "b", "a"]);
        assert!(twice.repeats() && twice.unshared().repeats());
        assert_eq!(twice.unshared(), twice);
        let text = serde_json::to_string(&twice).unwrap();
        assert_eq!(text, r#"["a","b","a"]"#);
        assert_eq!(serde_json::from_str::<NameList>(&text).unwrap(), twice);
    }

    #[test]
    fn a_row_of_many_has_its_index() {
        let exchange = |rows| Exchange {
            id: "p".into(),
            model: ModelName::parse("m").unwrap(),
            model_version: None,
            event_time: DateTime::UNIX_EPOCH,
            batch: Batch { rows, ..Batch::default() },
            other_ids: Vec::new(),
        };
        assert_eq!(exchange(1).row_id(0), "p");
        assert_eq!(exchange(3).row_id(2), "p_2");
    }
}
