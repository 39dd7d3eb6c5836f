//! The columns of a training set and what preprocessing makes of them.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::FeatureKind;

/// A column of the training set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// Name, as in the capture, the file and the served request.
    pub name: String,
    /// Numeric columns are imputed and scaled, the others one-hot encoded.
    pub kind: FeatureKind,
}

/// The features; a bare list stands for `columns`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesSpec {
    /// The columns to train on; empty: all of the active baseline's features, or every column of a file.
    pub columns: Vec<FeatureSpec>,
}

impl FeaturesSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        Vec::new()
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
                Ok(FeaturesSpec { columns })
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                FeaturesSpec::deserialize(MapAccessDeserializer::new(fields))
            }
        }

        source.deserialize_any(Either)
    }
}
