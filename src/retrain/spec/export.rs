//! What is written beside the artifact of a version.

use serde::{Deserialize, Serialize};

/// Exports.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportSpec {}

impl ExportSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}
