//! One column's counts as text inside a JSON document: the profile's own stored form, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::profile::{self, ColumnProfile, Layout, Profile};

/// The text of `counts`.
pub(super) fn write(counts: &ColumnProfile) -> String {
    STANDARD.encode(profile::encode(&Profile::from_columns(0, vec![counts.clone()])))
}

/// Reads the counts of the one column of `layout`.
///
/// # Errors
///
/// In words, when the text is damaged or made on another layout.
pub(super) fn read(layout: &Layout, text: &str) -> Result<ColumnProfile, String> {
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    let profile = profile::decode(layout, &bytes).map_err(|error| error.to_string())?;
    profile.columns().first().cloned().ok_or_else(|| "it has no counts".to_owned())
}
