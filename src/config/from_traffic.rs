//! The setting `baseline: after 7d`: a baseline that is built from traffic once there is enough.

use std::time::Duration;

use serde::Deserialize;

use super::Span;

/// After how much traffic a model without a baseline gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AfterTraffic(pub Duration);

impl TryFrom<String> for AfterTraffic {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("`{text}` is not a time such as `after 7d`");
        let span = text.trim().strip_prefix("after ").ok_or_else(wrong)?;
        let span = Span::try_from(span.trim().to_owned()).map_err(|_| wrong())?.0;
        if span.is_zero() { Err(wrong()) } else { Ok(Self(span)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_with_its_unit() {
        for (text, hours) in [
            ("after 7d", Some(168)),
            ("after 1h", Some(1)),
            (" after  2h ", Some(2)),
            ("7d", None),
            ("after 0d", None),
            ("after", None),
        ] {
            let read = AfterTraffic::try_from(text.to_owned()).ok();
            assert_eq!(read, hours.map(|hours| AfterTraffic(Duration::from_hours(hours))), "{text}");
        }
    }
}
