//! JSON values that know their path, so that a malformed file is reported by place.

use serde_json::Value;

use super::ImportError;

/// Longest file, in bytes.
const MAX_FILE: usize = 256 << 20;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<'a> {
    value: &'a Value,
    path: String,
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<Value, ImportError> {
    if text.len() > MAX_FILE {
        return Err(ImportError::Json(format!("at most {} MiB", MAX_FILE >> 20)));
    }
    // A byte order mark is what Windows tools leave.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| ImportError::Json(error.to_string()))
}

impl<'a> At<'a> {
    /// The whole document.
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, path: "$".to_owned() }
    }

    /// An error at this place.
    pub(super) fn wrong(&self, expected: &str) -> ImportError {
        let found = match self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "a truth value".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::String(_) => "text".to_owned(),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        self.problem(format!("expected {expected}, found {found}"))
    }

    /// An error at this place, in other words.
    pub(super) fn problem(&self, problem: String) -> ImportError {
        ImportError::Field { path: self.path.clone(), problem }
    }

    /// The field `key`; nothing when it is absent or null.
    pub(super) fn get(&self, key: &str) -> Result<Option<At<'a>>, ImportError> {
        let object = self.value.as_object().ok_or_else(|| self.wrong("an object"))?;
        let found = object.get(key).filter(|value| !value.is_null());
        Ok(found.map(|value| At { value, path: format!("{}.{key}", self.path) }))
    }

    /// The field `key`, which has to be there.
    pub(super) fn need(&self, key: &str) -> Result<At<'a>, ImportError> {
        self.get(key)?.ok_or_else(|| self.problem(format!("expected a field `{key}`")))
    }

    /// Whether there is a field `key` that is neither null nor empty.
    pub(super) fn has(&self, key: &str) -> bool {
        match self.value.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Object(object)) => !object.is_empty(),
            Some(Value::Array(array)) => !array.is_empty(),
            Some(_) => true,
        }
    }

    /// The elements of an array of at most `most`.
    pub(super) fn list(&self, most: usize) -> Result<impl Iterator<Item = At<'a>> + use<'a>, ImportError> {
        let array = self.value.as_array().ok_or_else(|| self.wrong("an array"))?;
        if array.len() > most {
            return Err(self.problem(format!("expected at most {most} elements, found {}", array.len())));
        }
        let path = self.path.clone();
        Ok(array.iter().enumerate().map(move |(index, value)| At { value, path: format!("{path}[{index}]") }))
    }

    /// Text.
    pub(super) fn text(&self) -> Result<&'a str, ImportError> {
        self.value.as_str().ok_or_else(|| self.wrong("text"))
    }

    /// A truth value.
    pub(super) fn truth(&self) -> Result<bool, ImportError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A finite number.
    pub(super) fn number(&self) -> Result<f64, ImportError> {
        self.value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| self.wrong("a number"))
    }

    /// A share from 0 to 1.
    pub(super) fn share(&self) -> Result<f64, ImportError> {
        let number = self.number()?;
        if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(self.wrong("a share from 0 to 1")) }
    }

    /// A count, which may be written as `12` or `12.0`.
    pub(super) fn count(&self) -> Result<u64, ImportError> {
        if let Some(count) = self.value.as_u64() {
            return Ok(count);
        }
        let number = self.number()?;
        if number < 0.0 || number.fract() != 0.0 || number >= 9e15 {
            return Err(self.wrong("a count"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 to 9e15")]
        Ok(number as u64)
    }

    /// `Enabled` or `Disabled`.
    pub(super) fn enabled(&self) -> Result<bool, ImportError> {
        match self.value.as_str() {
            Some("Enabled") => Ok(true),
            Some("Disabled") => Ok(false),
            _ => Err(self.wrong("`Enabled` or `Disabled`")),
        }
    }
}
