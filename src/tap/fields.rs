//! The headers of a message, however they were read.

use http::HeaderMap;

/// Headers by name.
pub(super) trait Fields {
    /// The first value of `name`, which is lower case; blanks around it are not part of it.
    fn field(&self, name: &str) -> Option<&[u8]>;

    /// Every name, in the case it has, with its value.
    fn fields(&self) -> impl Iterator<Item = (&str, &[u8])>;

    /// The first value of `name` if it is text.
    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.field(name)?).ok()
    }
}

impl Fields for HeaderMap {
    fn field(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(http::HeaderValue::as_bytes)
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }
}
