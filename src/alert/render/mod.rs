//! A message for people: what every receiver says about it, and the forms that mail has.

mod html;
mod outline;
mod text;

pub use outline::{Outline, Section};

use super::message::Message;

/// Longest subject line, in characters.
const MAX_SUBJECT: usize = 150;

/// A message, ready for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line without control characters.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// A complete HTML document; needs nothing from elsewhere but the pictures it was given.
    pub html: String,
}

/// A picture that stands beside the text of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Index in [`Outline::sections`] of what it shows.
    pub section: usize,
    /// Where the document finds it: `cid:…`.
    pub source: String,
    /// Width at which it is shown, in CSS pixels.
    pub width: u32,
}

impl Message {
    /// Renders the message.
    pub fn render(&self) -> Rendered {
        self.render_with(&[])
    }

    /// Renders the message; its document shows `pictures` in their sections.
    pub fn render_with(&self, pictures: &[Picture]) -> Rendered {
        let outline = self.outline();
        Rendered { subject: self.subject(), text: text::text(&outline), html: html::html(&outline, pictures) }
    }

    /// Status and topic in one line without control characters.
    pub fn subject(&self) -> String {
        one_line(&format!("[{}] {}", self.outline_word().to_uppercase(), self.topic_text()), MAX_SUBJECT)
    }

    /// What the group is about, without how it stands: the subject of a thread whose messages all have to have the
    /// same one.
    pub fn topic(&self) -> String {
        one_line(&self.topic_text(), MAX_SUBJECT)
    }
}

/// Text in one line without control characters, at most `limit` characters long.
pub fn one_line(text: &str, limit: usize) -> String {
    let clean: String = text
        .chars()
        .filter(|c| !is_direction(*c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(limit + 1)
        .collect();
    if clean.chars().count() <= limit {
        return clean;
    }
    clean.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// Characters that turn the direction of writing, with which a name could make a line read as another.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
