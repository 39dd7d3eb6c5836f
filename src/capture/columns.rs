//! Values of one column, by type: a text among numbers stays a text, and NaN is not a missing value.

use serde::{Deserialize, Serialize};

use crate::frames::{Cells, Texts, Typed};
use crate::model::{Name, Value};

/// What one part of a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// Numbers, NaN and the infinities included.
    Number,
    /// Texts.
    Text,
    /// Truth values.
    Bool,
    /// True where the row has something that is not a scalar.
    Opaque,
}

impl Holds {
    /// The word used in names of columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Text => "text",
            Self::Bool => "bool",
            Self::Opaque => "opaque",
        }
    }
}

/// The values of one type in a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Their type.
    pub holds: Holds,
    /// One per row, missing where the row has none of this type.
    pub typed: Typed,
}

/// A column of captured rows: a part per type that occurs, which is one but for odd columns. A row is missing where no part
/// has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct RowColumn {
    /// Its name.
    pub name: Name,
    /// Its rows.
    pub rows: usize,
    /// By type; none when every row is missing.
    pub parts: Vec<Part>,
}

impl RowColumn {
    /// The numbers of a column that holds nothing else, NaN where one is missing, and which are missing.
    pub fn numbers(&self) -> Option<(&[f64], Option<&[bool]>)> {
        match self.parts.as_slice() {
            [Part { holds: Holds::Number, typed: Typed { cells: Cells::Numbers(values), missing } }] => {
                Some((values, missing.as_deref()))
            }
            _ => None,
        }
    }

    /// The value of row `row`; missing beyond the last.
    pub fn value(&self, row: usize) -> Value {
        for Part { holds, typed } in &self.parts {
            if row >= typed.cells.rows() || typed.is_missing(row) {
                continue;
            }
            return match (holds, &typed.cells) {
                (Holds::Number, Cells::Numbers(values)) => Value::Number(values[row]),
                (Holds::Text, Cells::Texts(values)) => Value::Text(values.get(row).to_owned()),
                (Holds::Bool, Cells::Truths(values)) => Value::Bool(values[row]),
                _ => Value::Opaque,
            };
        }
        Value::Missing
    }

    /// Every value, in the order of rows.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        (0..self.rows).map(|row| self.value(row))
    }
}

/// A column that is filled row by row.
#[derive(Debug, Default)]
pub(super) struct Filling {
    rows: usize,
    parts: Vec<Part>,
}

impl Filling {
    /// Sets the value of row `row`, which has to be after all rows before; rows in between are missing.
    pub(super) fn set(&mut self, row: usize, value: &Value) {
        let holds = match value {
            Value::Missing => return,
            Value::Number(_) => Holds::Number,
            Value::Text(_) => Holds::Text,
            Value::Bool(_) => Holds::Bool,
            Value::Opaque => Holds::Opaque,
        };
        self.rows = row + 1;
        let typed = self.part(holds);
        fill(typed, row);
        match (&mut typed.cells, value) {
            (Cells::Numbers(values), Value::Number(number)) => values.push(*number),
            (Cells::Texts(values), Value::Text(text)) => values.push(text),
            (Cells::Truths(values), Value::Bool(truth)) => values.push(*truth),
            (Cells::Truths(values), _) => values.push(true),
            _ => {}
        }
        if let Some(missing) = &mut typed.missing {
            missing.push(false);
        }
    }

    fn part(&mut self, holds: Holds) -> &mut Typed {
        let at = self.parts.iter().position(|part| part.holds == holds).unwrap_or_else(|| {
            let cells = match holds {
                Holds::Number => Cells::Numbers(Vec::new()),
                Holds::Text => Cells::Texts(Texts::default()),
                Holds::Bool | Holds::Opaque => Cells::Truths(Vec::new()),
            };
            self.parts.push(Part { holds, typed: Typed { cells, missing: None } });
            self.parts.len() - 1
        });
        &mut self.parts[at].typed
    }

    /// The column of `rows` rows; its parts in a fixed order.
    pub(super) fn finish(mut self, name: Name, rows: usize) -> RowColumn {
        for part in &mut self.parts {
            fill(&mut part.typed, rows);
        }
        self.parts.sort_by_key(|part| part.holds);
        RowColumn { name, rows, parts: self.parts }
    }
}

/// Has the rows up to `rows` be missing that have not been set.
fn fill(typed: &mut Typed, rows: usize) {
    let held = typed.cells.rows();
    if held >= rows {
        return;
    }
    typed.missing.get_or_insert_with(|| vec![false; held]).resize(rows, true);
    match &mut typed.cells {
        Cells::Numbers(values) => values.resize(rows, f64::NAN),
        Cells::Truths(values) => values.resize(rows, false),
        Cells::Texts(values) => {
            for _ in held..rows {
                values.push("");
            }
        }
        Cells::Integers(values) | Cells::Times(values) => values.resize(rows, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_keeps_its_type_and_its_row() {
        let given = [
            Value::Missing,
            Value::Number(1.5),
            Value::Text("a".into()),
            Value::Missing,
            Value::Bool(false),
            Value::Number(f64::NAN),
            Value::Opaque,
            Value::Missing,
        ];
        let mut filling = Filling::default();
        for (row, value) in given.iter().enumerate() {
            filling.set(row, value);
        }
        let column = filling.finish("x".into(), given.len());
        let found: Vec<String> = column.values().map(|value| format!("{value:?}")).collect();
        assert_eq!(found, given.map(|value| format!("{value:?}")));
        assert_eq!(column.parts.len(), 4);
        assert_eq!((column.numbers(), column.value(99)), (None, Value::Missing));
    }

    #[test]
    fn a_column_of_numbers_alone_can_be_used_as_it_is() {
        let mut filling = Filling::default();
        filling.set(0, &Value::Number(1.0));
        filling.set(2, &Value::Number(3.0));
        let column = filling.finish("x".into(), 3);
        let (values, missing) = column.numbers().unwrap();
        assert_eq!((values[0], values[2], missing), (1.0, 3.0, Some(&[false, true, false][..])));
        let nothing = Filling::default().finish("y".into(), 2);
        assert_eq!(nothing.values().collect::<Vec<_>>(), [Value::Missing, Value::Missing]);
    }
}
