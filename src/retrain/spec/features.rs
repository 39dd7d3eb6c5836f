//! The columns of a training set and what preprocessing makes of them.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::FeatureKind;
use crate::retrain::pipeline::{Combination, DatePart, EVENT_TIME};

/// What stands for a number that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Imputation {
    /// The mean of the training part.
    #[default]
    Mean,
    /// Its median.
    Median,
}

/// How numbers are brought to one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Less the mean, over the standard deviation.
    #[default]
    Standard,
    /// From 0 at the smallest to 1 at the largest.
    MinMax,
    /// By the place among the quantiles: a heavy tail is as wide as its share of the rows.
    Quantile,
}

/// A column of the training set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// Name, as in the capture, the file and the served request.
    pub name: String,
    /// Numeric columns are imputed and scaled, the others one-hot encoded or embedded.
    pub kind: FeatureKind,
    /// Other than for all: what stands for a missing number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imputation: Option<Imputation>,
    /// Other than for all: how the numbers are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Other than for all: whether a second column says that the number is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indicator: Option<bool>,
}

impl FeatureSpec {
    /// A column that is treated like all others.
    pub fn new(name: impl Into<String>, kind: FeatureKind) -> Self {
        Self { name: name.into(), kind, imputation: None, scaling: None, indicator: None }
    }
}

/// A column of times and what is made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DateSpec {
    /// The column; absent: the time of the prediction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Its parts, each as a point on a circle.
    pub parts: Vec<DatePart>,
}

/// Two numeric features that become a third.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InteractionSpec {
    /// The first times the second.
    Product([String; 2]),
    /// The first over the second.
    Ratio([String; 2]),
}

impl InteractionSpec {
    /// How, and of what.
    pub fn parts(&self) -> (Combination, [&str; 2]) {
        match self {
            Self::Product([left, right]) => (Combination::Product, [left, right]),
            Self::Ratio([left, right]) => (Combination::Ratio, [left, right]),
        }
    }
}

/// The features; a bare list stands for `columns`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesSpec {
    /// The columns to train on; empty: all of the active baseline's features, or every column of a file.
    pub columns: Vec<FeatureSpec>,
    /// What stands for a missing number.
    pub imputation: Imputation,
    /// Whether a second column says that a number is missing, where the training part lacks one.
    pub indicator: bool,
    /// How numbers are scaled.
    pub scaling: Scaling,
    /// Levels of a categorical feature with a column each; one with more gets codes for learned embeddings besides.
    pub one_hot_limit: usize,
    /// Levels with a code; the rarer ones count as unseen.
    pub max_levels: usize,
    /// Times and their parts.
    pub dates: Vec<DateSpec>,
    /// Pairs of numeric features.
    pub interactions: Vec<InteractionSpec>,
}

impl Default for FeaturesSpec {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
            imputation: Imputation::default(),
            indicator: false,
            scaling: Scaling::default(),
            one_hot_limit: 64,
            max_levels: 10_000,
            dates: Vec::new(),
            interactions: Vec::new(),
        }
    }
}

impl FeaturesSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        for feature in &self.columns {
            if !seen.insert(feature.name.as_str()) {
                problems.push(format!("features.columns has `{}` twice", feature.name));
            }
            let is_treated =
                feature.imputation.is_some() || feature.scaling.is_some() || feature.indicator.is_some();
            if is_treated && feature.kind != FeatureKind::Numeric {
                problems.push(format!(
                    "features.columns: `{}` is {}; imputation, scaling and indicator are for numeric columns",
                    feature.name,
                    feature.kind.as_str()
                ));
            }
        }
        if self.one_hot_limit > 10_000 {
            problems.push(format!("features.one_hot_limit {} is above 10000", self.one_hot_limit));
        }
        if !(1..=200_000).contains(&self.max_levels) {
            problems.push(format!("features.max_levels {} is not between 1 and 200000", self.max_levels));
        }
        for dates in &self.dates {
            if dates.parts.is_empty() {
                let column = dates.column.as_deref().unwrap_or(EVENT_TIME);
                problems.push(format!("features.dates: `{column}` has no parts"));
            }
        }
        for pair in &self.interactions {
            let (_, names) = pair.parts();
            for name in names {
                let listed = self.columns.iter().find(|feature| feature.name == name);
                match listed {
                    Some(feature) if feature.kind != FeatureKind::Numeric => problems.push(format!(
                        "features.interactions: `{name}` is {}, not numeric",
                        feature.kind.as_str()
                    )),
                    None if !self.columns.is_empty() => {
                        problems.push(format!("features.interactions: `{name}` is none of features.columns"));
                    }
                    _ => {}
                }
            }
        }
        problems
    }

    /// Reads the fields, or the bare list that specifications had before there were any.
    pub(crate) fn listed_or_full<'de, D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = FeaturesSpec;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the fields of `features`, or a list of columns")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                let columns = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(FeaturesSpec { columns, ..FeaturesSpec::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                FeaturesSpec::deserialize(MapAccessDeserializer::new(fields))
            }
        }

        source.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Holder {
        #[serde(deserialize_with = "FeaturesSpec::listed_or_full")]
        features: FeaturesSpec,
    }

    fn read(text: &str) -> Result<FeaturesSpec, String> {
        let holder: Result<Holder, _> = serde_json::from_str(&format!("{{\"features\": {text}}}"));
        holder.map(|holder| holder.features).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_stands_for_columns() {
        let column = r#"{"name": "x", "kind": "numeric"}"#;
        let listed = read(&format!("[{column}]")).unwrap();
        assert_eq!(listed, read(&format!(r#"{{"columns": [{column}]}}"#)).unwrap());
        assert_eq!(listed.columns, [FeatureSpec::new("x", FeatureKind::Numeric)]);
        assert_eq!(read("[]").unwrap(), FeaturesSpec::default());
        assert_eq!(read("{}").unwrap(), FeaturesSpec::default());
    }

    #[test]
    fn every_field_reads_and_survives() {
        let text = r#"{"columns": [{"name": "x", "kind": "numeric", "scaling": "quantile", "indicator": true},
                                   {"name": "y", "kind": "numeric"}],
                       "imputation": "median", "scaling": "min_max", "one_hot_limit": 10, "max_levels": 100,
                       "dates": [{"parts": ["hour", "weekday"]}, {"column": "since", "parts": ["yearday"]}],
                       "interactions": [{"product": ["x", "y"]}, {"ratio": ["x", "y"]}]}"#;
        let spec = read(text).unwrap();
        assert_eq!(spec.problems(), Vec::<String>::new());
        assert_eq!(read(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
        assert!(read(r#"{"scalling": "standard"}"#).unwrap_err().contains("scalling"));
    }

    #[test]
    fn every_problem_names_its_field() {
        let text = r#"{"columns": [{"name": "x", "kind": "numeric"}, {"name": "x", "kind": "numeric"},
                                   {"name": "c", "kind": "categorical", "scaling": "standard"}],
                       "one_hot_limit": 20000, "max_levels": 0, "dates": [{"parts": []}],
                       "interactions": [{"product": ["x", "c"]}, {"ratio": ["x", "z"]}]}"#;
        let problems = read(text).unwrap().problems();
        let said = [
            "`x` twice",
            "`c` is categorical",
            "one_hot_limit",
            "max_levels",
            "no parts",
            "`c` is categorical, not",
            "`z` is none of",
        ];
        assert_eq!(problems.len(), said.len(), "{problems:?}");
        for (problem, said) in problems.iter().zip(said) {
            assert!(problem.contains(said), "{problem}");
        }
    }
}
