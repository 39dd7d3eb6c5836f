//! Some neighbouring rows of one column, made into what the column is wanted as.

use chrono::{DateTime, Utc};

use crate::model::{FeatureKind, parse_time_text};

/// What a column is to be read as. A value that cannot be that is [`State::WrongType`], never left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Values of a kind.
    Kind(FeatureKind),
    /// Event times; a row without one is an error.
    Time,
}

/// What a row of a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A value.
    Value,
    /// Nothing: null, absent, or an empty CSV field.
    Missing,
    /// Something of another kind.
    WrongType,
}

/// Texts one after the other in one buffer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    /// The texts in row order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end])
    }

    /// The text of row `row`; empty beyond the last.
    pub fn get(&self, row: usize) -> &str {
        let Some(&end) = self.ends.get(row) else { return "" };
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.text[start..end]
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    fn push_shown(&mut self, value: impl std::fmt::Display) {
        use std::fmt::Write;
        // Writing into a `String` cannot fail.
        let _always_ok = write!(self.text, "{value}");
        self.ends.push(self.text.len());
    }
}

/// The values of a chunk; at a row without a value stands a placeholder (NaN, false, an empty text, 0).
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Of a numeric column.
    Numbers(Vec<f64>),
    /// Of a categorical column.
    Texts(Texts),
    /// Of a boolean column.
    Truths(Vec<bool>),
    /// Of a time column, in milliseconds since 1970.
    Times(Vec<i64>),
}

/// Some neighbouring rows of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// One value per row.
    pub values: Values,
    /// What each row holds; `None` when every row has a value.
    pub states: Option<Vec<State>>,
}

impl Chunk {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match &self.values {
            Values::Numbers(values) => values.len(),
            Values::Texts(values) => values.len(),
            Values::Truths(values) => values.len(),
            Values::Times(values) => values.len(),
        }
    }
}

/// Makes chunks out of whatever a file holds; its buffers are used again.
#[derive(Debug)]
pub(super) struct ChunkBuilder {
    want: Want,
    chunk: Chunk,
    /// The first row that is not a time, with its text.
    bad_time: Option<(usize, String)>,
}

impl ChunkBuilder {
    pub(super) fn new(want: Want) -> Self {
        let values = match want {
            Want::Kind(FeatureKind::Numeric) => Values::Numbers(Vec::new()),
            Want::Kind(FeatureKind::Categorical) => Values::Texts(Texts::default()),
            Want::Kind(FeatureKind::Boolean) => Values::Truths(Vec::new()),
            Want::Time => Values::Times(Vec::new()),
        };
        Self { want, chunk: Chunk { values, states: None }, bad_time: None }
    }

    pub(super) fn clear(&mut self) {
        match &mut self.chunk.values {
            Values::Numbers(values) => values.clear(),
            Values::Texts(values) => {
                values.text.clear();
                values.ends.clear();
            }
            Values::Truths(values) => values.clear(),
            Values::Times(values) => values.clear(),
        }
        self.chunk.states = None;
        self.bad_time = None;
    }

    pub(super) fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// Row in this chunk and text of the first value that is not a time.
    pub(super) fn bad_time(&self) -> Option<(usize, &str)> {
        self.bad_time.as_ref().map(|(row, text)| (*row, text.as_str()))
    }

    /// The buffer of numbers, for readers that have many at once; only where numbers are wanted.
    pub(super) fn numbers(&mut self) -> Option<&mut Vec<f64>> {
        match &mut self.chunk.values {
            Values::Numbers(values) => Some(values),
            _ => None,
        }
    }

    /// Marks row `row` of this chunk.
    pub(super) fn mark(&mut self, row: usize, state: State) {
        let rows = self.chunk.rows();
        let states = self.chunk.states.get_or_insert_default();
        states.resize(rows, State::Value);
        states[row] = state;
    }

    fn placeholder(&mut self, state: State) {
        match &mut self.chunk.values {
            Values::Numbers(values) => values.push(f64::NAN),
            Values::Texts(values) => values.push(""),
            Values::Truths(values) => values.push(false),
            Values::Times(values) => values.push(0),
        }
        // Only the last row is touched, so growing the states now and then costs nothing.
        let rows = self.chunk.rows();
        let states = self.chunk.states.get_or_insert_default();
        states.resize(rows, State::Value);
        states[rows - 1] = state;
    }

    fn valued(&mut self) {
        if let Some(states) = &mut self.chunk.states {
            states.push(State::Value);
        }
    }

    fn not_a_time(&mut self, text: String) {
        if self.bad_time.is_none() {
            self.bad_time = Some((self.chunk.rows(), text));
        }
        self.placeholder(State::WrongType);
    }

    pub(super) fn missing(&mut self) {
        if self.want == Want::Time {
            self.not_a_time(String::new());
        } else {
            self.placeholder(State::Missing);
        }
    }

    pub(super) fn wrong_type(&mut self) {
        if self.want == Want::Time {
            self.not_a_time("(not a scalar)".to_owned());
        } else {
            self.placeholder(State::WrongType);
        }
    }

    #[expect(clippy::float_cmp, reason = "only the exact values stand for truth values")]
    pub(super) fn number(&mut self, number: f64) {
        match &mut self.chunk.values {
            Values::Numbers(values) => values.push(number),
            // A number that is none has no name either.
            Values::Texts(_) if number.is_nan() => return self.placeholder(State::Missing),
            Values::Texts(values) => values.push_shown(number),
            Values::Truths(values) if number == 0.0 || number == 1.0 => values.push(number == 1.0),
            Values::Truths(_) => return self.placeholder(State::WrongType),
            Values::Times(values) => {
                #[expect(clippy::cast_possible_truncation, reason = "what saturates is refused")]
                let milliseconds = (number * 1000.0) as i64;
                if !number.is_finite() || DateTime::<Utc>::from_timestamp_millis(milliseconds).is_none() {
                    return self.not_a_time(number.to_string());
                }
                values.push(milliseconds);
            }
        }
        self.valued();
    }

    pub(super) fn text(&mut self, text: &str) {
        match &mut self.chunk.values {
            Values::Texts(values) => values.push(text),
            Values::Times(values) => match parse_time_text(text) {
                Some(time) => values.push(time.timestamp_millis()),
                None => return self.not_a_time(text.to_owned()),
            },
            Values::Numbers(_) | Values::Truths(_) => return self.placeholder(State::WrongType),
        }
        self.valued();
    }

    pub(super) fn truth(&mut self, truth: bool) {
        match &mut self.chunk.values {
            Values::Truths(values) => values.push(truth),
            Values::Texts(values) => values.push(if truth { "true" } else { "false" }),
            Values::Numbers(_) => return self.placeholder(State::WrongType),
            Values::Times(_) => return self.not_a_time(truth.to_string()),
        }
        self.valued();
    }

    /// A time of the file's own type, in microseconds since 1970.
    pub(super) fn time(&mut self, microseconds: i64) {
        match &mut self.chunk.values {
            Values::Times(values) => values.push(microseconds.div_euclid(1000)),
            Values::Numbers(values) => values.push(microseconds as f64 / 1e6),
            Values::Texts(values) => match DateTime::<Utc>::from_timestamp_micros(microseconds) {
                Some(time) => values.push_shown(time.format("%FT%T%.fZ")),
                None => return self.placeholder(State::WrongType),
            },
            Values::Truths(_) => return self.placeholder(State::WrongType),
        }
        self.valued();
    }

    /// A field of a CSV file, where nothing but its text tells its type.
    pub(super) fn field(&mut self, field: &[u8]) {
        let text = std::str::from_utf8(field);
        match &mut self.chunk.values {
            Values::Texts(_) if field.is_empty() => self.missing(),
            // Bytes that are no text still are a category of their own.
            Values::Texts(_) => match text {
                Ok(text) => self.text(text),
                Err(_) => self.text(&String::from_utf8_lossy(field)),
            },
            Values::Numbers(_) => match CsvField::of(text.unwrap_or("?")) {
                CsvField::Nothing => self.missing(),
                CsvField::Number(number) => self.number(number),
                CsvField::Truth(_) | CsvField::Text => self.placeholder(State::WrongType),
            },
            Values::Truths(_) => match CsvField::of(text.unwrap_or("?")) {
                CsvField::Nothing => self.missing(),
                CsvField::Number(number) => self.number(number),
                CsvField::Truth(truth) => self.truth(truth),
                CsvField::Text => self.placeholder(State::WrongType),
            },
            Values::Times(_) => match (text.map(str::trim), text.map(CsvField::of)) {
                (_, Ok(CsvField::Number(number))) => self.number(number),
                (Ok(text), _) => self.text(text),
                (Err(_), _) => self.not_a_time(String::from_utf8_lossy(field).into_owned()),
            },
        }
    }
}

/// What the text of a CSV field says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum CsvField {
    /// Empty, or a word that stands for it.
    Nothing,
    /// A number, NaN and the infinities included.
    Number(f64),
    /// `true` or `false`.
    Truth(bool),
    /// Anything else.
    Text,
}

impl CsvField {
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim_ascii();
        if let Ok(number) = text.parse::<f64>() {
            return Self::Number(number);
        }
        match text {
            "" | "NA" | "N/A" | "null" | "NULL" | "None" => Self::Nothing,
            "true" | "True" | "TRUE" => Self::Truth(true),
            "false" | "False" | "FALSE" => Self::Truth(false),
            _ => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(want: Want, feed: impl Fn(&mut ChunkBuilder)) -> (Values, Vec<State>) {
        let mut builder = ChunkBuilder::new(want);
        feed(&mut builder);
        let chunk = builder.chunk().clone();
        let states = chunk.states.clone().unwrap_or_else(|| vec![State::Value; chunk.rows()]);
        (chunk.values, states)
    }

    fn texts(values: &Values) -> Vec<String> {
        let Values::Texts(texts) = values else { return vec!["no texts".into()] };
        texts.iter().map(str::to_owned).collect()
    }

    #[test]
    fn fields_become_what_is_wanted() {
        use State::{Missing, Value, WrongType};
        let fields: [&[u8]; 8] = [b"1.5", b"", b"NA", b"abc", b"true", b" 0 ", b"inf", &[0xff]];
        let feed = |builder: &mut ChunkBuilder| fields.iter().for_each(|field| builder.field(field));
        let (numbers, states) = built(Want::Kind(FeatureKind::Numeric), feed);
        assert_eq!(states, [Value, Missing, Missing, WrongType, WrongType, Value, Value, WrongType]);
        let Values::Numbers(numbers) = numbers else { unreachable!() };
        assert_eq!(numbers[0..1], [1.5]);
        assert_eq!(numbers[5..7], [0.0, f64::INFINITY]);
        let (names, states) = built(Want::Kind(FeatureKind::Categorical), feed);
        assert_eq!(states, [Value, Missing, Value, Value, Value, Value, Value, Value]);
        assert_eq!(texts(&names), ["1.5", "", "NA", "abc", "true", " 0 ", "inf", "\u{fffd}"]);
        let (_, states) = built(Want::Kind(FeatureKind::Boolean), feed);
        assert_eq!(states, [WrongType, Missing, Missing, WrongType, Value, Value, WrongType, WrongType]);
    }

    #[test]
    fn typed_values_become_what_is_wanted() {
        use State::{Missing, Value, WrongType};
        let feed = |builder: &mut ChunkBuilder| {
            builder.number(3.0);
            builder.text("a");
            builder.truth(true);
            builder.time(1_500_000);
            builder.wrong_type();
            builder.missing();
            builder.number(f64::NAN);
        };
        let (names, states) = built(Want::Kind(FeatureKind::Categorical), feed);
        assert_eq!(states, [Value, Value, Value, Value, WrongType, Missing, Missing]);
        assert_eq!(texts(&names)[..4], ["3", "a", "true", "1970-01-01T00:00:01.500Z"]);
        let (_, states) = built(Want::Kind(FeatureKind::Numeric), feed);
        assert_eq!(states, [Value, WrongType, WrongType, Value, WrongType, Missing, Value]);
    }

    #[test]
    fn the_first_bad_time_is_kept() {
        let mut builder = ChunkBuilder::new(Want::Time);
        builder.text("2024-05-01T00:00:00Z");
        builder.number(0.5);
        assert_eq!(builder.bad_time(), None);
        builder.text("yesterday");
        builder.missing();
        assert_eq!(builder.bad_time(), Some((2, "yesterday")));
        assert_eq!(builder.chunk().values, Values::Times(vec![1_714_521_600_000, 500, 0, 0]));
        builder.clear();
        assert_eq!((builder.bad_time(), builder.chunk().rows()), (None, 0));
    }
}
