//! Which columns a model's predictions have: learned from exchanges, approved in settings, compared with a window.

use serde::{Deserialize, Serialize};

use crate::model::{FeatureKind, Role, Value};
use crate::profile::Layout;

mod change;
mod declared;
mod learn;
mod seen;
#[cfg(test)]
mod tests;
mod write;

pub use change::{Change, SchemaChange, changes};
pub use declared::{Declared, declared};
pub use learn::{Learned, LearnedColumn, Learner};
pub use seen::{Extra, MAX_EXTRA, Seen};
pub use write::settings_fragment;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// Quantities.
    Numeric,
    /// Names out of a set, or free text.
    Categorical,
    /// True or false.
    Boolean,
    /// Arrays, objects or bytes: counted, never interpreted.
    Opaque,
}

impl Holds {
    /// Every kind, in the order of tallies.
    pub const ALL: [Self; 4] = [Self::Numeric, Self::Categorical, Self::Boolean, Self::Opaque];

    /// The word used in settings, tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Categorical => "categorical",
            Self::Boolean => "boolean",
            Self::Opaque => "opaque",
        }
    }

    /// What a value is by itself; `None` when it is missing.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Missing => None,
            Value::Number(_) => Some(Self::Numeric),
            Value::Bool(_) => Some(Self::Boolean),
            Value::Text(_) => Some(Self::Categorical),
            Value::Opaque => Some(Self::Opaque),
        }
    }

    /// Its place in [`Self::ALL`].
    fn index(self) -> usize {
        match self {
            Self::Numeric => 0,
            Self::Categorical => 1,
            Self::Boolean => 2,
            Self::Opaque => 3,
        }
    }

    /// Whether a value that is `other` by itself can stand in such a column: numbers can name a category, and 0 and 1
    /// can be truth values.
    fn takes(self, other: Self) -> bool {
        match self {
            Self::Numeric | Self::Opaque => self == other,
            Self::Categorical => other != Self::Opaque,
            Self::Boolean => matches!(other, Self::Boolean | Self::Numeric),
        }
    }
}

impl From<FeatureKind> for Holds {
    fn from(kind: FeatureKind) -> Self {
        match kind {
            FeatureKind::Numeric => Self::Numeric,
            FeatureKind::Categorical => Self::Categorical,
            FeatureKind::Boolean => Self::Boolean,
        }
    }
}

/// A column that predictions are to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Its name.
    pub name: String,
    /// `feature`, an input, or `output`.
    #[serde(default = "feature")]
    pub role: Role,
    /// `numeric`, `categorical`, `boolean` or `opaque`.
    pub kind: Holds,
    /// Whether its absence is no finding.
    #[serde(default)]
    pub optional: bool,
}

fn feature() -> Role {
    Role::Feature
}

/// The columns of a baseline as what is expected, where nothing was approved.
pub fn of_layout(layout: &Layout) -> Vec<Expected> {
    let columns = layout.columns().iter().filter(|column| column.role != Role::Derived);
    columns
        .map(|column| Expected {
            name: column.name.clone(),
            role: column.role,
            kind: column.kind.into(),
            optional: false,
        })
        .collect()
}
