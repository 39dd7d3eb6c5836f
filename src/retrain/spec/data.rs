//! Which rows a run takes from its source, and how they count.

use serde::{Deserialize, Serialize};

/// Rows, weights and splits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {}

impl DataSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}
