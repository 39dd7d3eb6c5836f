//! Silences and acknowledgements: what people say of alerts, with their name and a reason.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::matcher::Matcher;

/// Most matchers of one silence.
pub const MAX_MATCHERS: usize = 32;

/// Longest name or reason, in characters.
const MAX_TEXT: usize = 500;

/// Alerts that match are not told for a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Identifies it.
    pub id: Uuid,
    /// All have to match.
    pub matchers: Vec<Matcher>,
    /// From this instant on.
    pub starts_at: DateTime<Utc>,
    /// Until this instant, exclusive.
    pub ends_at: DateTime<Utc>,
    /// Who wants it so.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Why a silence or an acknowledgement was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WordError {
    /// A silence of everything is never what was meant.
    #[error(
        "a silence needs 1 to {MAX_MATCHERS} matchers, and one of them has to ask for more than an absent label"
    )]
    Matchers,
    /// It would end before it starts, or has ended.
    #[error("a silence has to end after it starts, and in the future")]
    Times,
    /// Nobody would know whom to ask.
    #[error("`{0}` is needed: 1 to {MAX_TEXT} characters")]
    Missing(&'static str),
}

/// Who does something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Word {
    /// Who does something and why, in clean text of bounded length.
    ///
    /// # Errors
    ///
    /// [`WordError::Missing`].
    pub fn new(by: &str, reason: &str) -> Result<Self, WordError> {
        Ok(Self { by: text("by", by)?, reason: text("reason", reason)? })
    }
}

/// Checks a name or a reason.
fn text(name: &'static str, text: &str) -> Result<String, WordError> {
    let clean: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let fine = !clean.is_empty() && clean.chars().count() <= MAX_TEXT;
    if fine { Ok(clean) } else { Err(WordError::Missing(name)) }
}

impl Silence {
    /// Checks that it says who and why, matches something, and has not ended at `now`.
    ///
    /// # Errors
    ///
    /// [`WordError`].
    pub fn checked(self, now: DateTime<Utc>) -> Result<Self, WordError> {
        // Whatever an alert without any label fulfils, every alert does.
        let everything =
            self.matchers.iter().all(|matcher| matcher.matches(&std::collections::BTreeMap::new()));
        if self.matchers.len() > MAX_MATCHERS || everything {
            return Err(WordError::Matchers);
        }
        if self.ends_at <= self.starts_at || self.ends_at <= now {
            return Err(WordError::Times);
        }
        Ok(Self { by: text("by", &self.by)?, reason: text("reason", &self.reason)?, ..self })
    }

    /// Whether it holds at `now`.
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        self.starts_at <= now && now < self.ends_at
    }
}

/// What an acknowledgement is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "of")]
pub enum AckTarget {
    /// One alert, until it resolves.
    Alert {
        /// Which one.
        fingerprint: String,
        /// Since when it has been firing; another firing is another matter.
        since: DateTime<Utc>,
    },
    /// A group with all its alerts, until all are over.
    Group {
        /// Its key, which is of one episode.
        key: String,
    },
}

/// Somebody has taken it on: no repeats and no escalation until it resolves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Identifies it.
    pub id: Uuid,
    /// What it is of.
    pub target: AckTarget,
    /// Who.
    pub by: String,
    /// What they say.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

impl Ack {
    /// Checks that it says who and why.
    ///
    /// # Errors
    ///
    /// [`WordError::Missing`].
    pub fn checked(self) -> Result<Self, WordError> {
        Ok(Self { by: text("by", &self.by)?, reason: text("reason", &self.reason)?, ..self })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_silence_says_what_until_when_who_and_why() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let silence = |matchers: &[&str], hours: i64, by: &str, reason: &str| {
            let silence = Silence {
                id: Uuid::nil(),
                matchers: matchers.iter().map(|text| Matcher::parse(text).unwrap()).collect(),
                starts_at: now,
                ends_at: now + TimeDelta::hours(hours),
                by: by.to_owned(),
                reason: reason.to_owned(),
            };
            silence.checked(now)
        };
        let good = silence(&["model=m"], 2, " ann ", "a\nb").unwrap();
        assert_eq!((good.by.as_str(), good.reason.as_str()), ("ann", "a b"));
        assert!(good.is_active(now) && !good.is_active(good.ends_at));
        assert_eq!(silence(&[], 2, "ann", "x"), Err(WordError::Matchers));
        assert_eq!(silence(&["model=~\".*\""], 2, "ann", "x"), Err(WordError::Matchers));
        assert_eq!(silence(&["model=m"; 33], 2, "ann", "x"), Err(WordError::Matchers));
        assert_eq!(silence(&["model=m"], 0, "ann", "x"), Err(WordError::Times));
        assert_eq!(silence(&["model=m"], 2, " ", "x"), Err(WordError::Missing("by")));
        assert_eq!(silence(&["model=m"], 2, "ann", &"x".repeat(501)), Err(WordError::Missing("reason")));
    }
}
