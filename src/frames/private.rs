//! Columns as they may be kept: what a policy hashes or masks is changed on its way from the file to the sink.

use crate::model::Value;
use crate::privacy::Policy;

use super::{Chunk, FrameError, Sink, State, Texts, Values};

/// A sink that sees what may be kept of one column.
#[derive(Debug)]
pub(super) struct Private<'s, S> {
    pub(super) policy: &'s Policy,
    pub(super) column: &'s str,
    pub(super) sink: &'s mut S,
}

impl<S: Sink> Sink for Private<'_, S> {
    fn take(&mut self, chunk: &Chunk) -> Result<(), FrameError> {
        match self.changed(chunk) {
            Some(changed) => self.sink.take(&changed),
            None => self.sink.take(chunk),
        }
    }
}

impl<S> Private<'_, S> {
    /// What may be kept of `chunk`; `None` when that is all of it.
    fn changed(&self, chunk: &Chunk) -> Option<Chunk> {
        if !self.policy.touches(self.column) {
            return None;
        }
        match &chunk.values {
            Values::Texts(texts) => {
                let mut kept = Texts::default();
                for (row, text) in texts.iter().enumerate() {
                    if chunk.states.as_ref().is_some_and(|states| states[row] != State::Value) {
                        kept.push(text);
                        continue;
                    }
                    let mut value = [Value::Text(text.to_owned())];
                    self.policy.apply_to_values(self.column, &mut value);
                    match &value {
                        [Value::Text(text)] => kept.push(text),
                        _ => kept.push(""),
                    }
                }
                Some(Chunk { values: Values::Texts(kept), states: chunk.states.clone() })
            }
            Values::Numbers(numbers) => {
                let mut values: Vec<Value> = numbers.iter().map(|number| Value::Number(*number)).collect();
                self.policy.apply_to_values(self.column, &mut values);
                if values.iter().all(|value| matches!(value, Value::Number(_))) {
                    return None;
                }
                // A number that is a card's is none that may be counted as a quantity.
                let mut states = chunk.states.clone().unwrap_or_else(|| vec![State::Value; numbers.len()]);
                let mut kept = numbers.clone();
                for ((value, state), number) in values.iter().zip(&mut states).zip(&mut kept) {
                    if !matches!(value, Value::Number(_)) && *state == State::Value {
                        (*state, *number) = (State::WrongType, f64::NAN);
                    }
                }
                Some(Chunk { values: Values::Numbers(kept), states: Some(states) })
            }
            Values::Truths(_) | Values::Times(_) => None,
        }
    }
}
