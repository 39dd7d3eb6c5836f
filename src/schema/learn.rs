//! Learns the columns of a model from its first exchanges, in bounded memory.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Expected, Holds};
use crate::model::{Column, Exchange, Role, Value};

/// Columns of one side that are learned; of further ones only the number is.
const MAX_LEARNED: usize = 4096;
/// Distinct values of a column that are told apart.
const MAX_DISTINCT: usize = 32;
/// Bytes of a text that are told apart.
const MAX_TEXT: usize = 64;
/// Distinct whole numbers up to which somebody should look whether they are names.
const FEW: usize = 10;

/// What one column was.
#[derive(Debug, Clone, PartialEq, Default)]
struct Counted {
    position: usize,
    rows: u64,
    missing: u64,
    kinds: [u64; 4],
    range: Option<(f64, f64)>,
    whole: bool,
    distinct: BTreeSet<String>,
    many: bool,
}

/// Watches exchanges.
#[derive(Debug, Clone, Default)]
pub struct Learner {
    predictions: u64,
    rows: u64,
    answered: u64,
    features: BTreeMap<String, Counted>,
    outputs: BTreeMap<String, Counted>,
    left_out: u64,
}

/// A column as it was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LearnedColumn {
    /// Its name.
    pub name: String,
    /// Input or output.
    pub role: Role,
    /// What it holds, by its values; `None` when it was always missing.
    pub kind: Option<Holds>,
    /// Rows of exchanges that had it.
    pub rows: u64,
    /// Rows without a value, those of exchanges that lacked the column included, as a share in `[0, 1]`.
    pub missing_share: f64,
    /// Share of the rows whose value is of another kind than most, in `[0, 1]`.
    pub other_kinds_share: f64,
    /// Least and greatest number.
    pub range: Option<(f64, f64)>,
    /// Distinct values, up to 32; `None` when there were more.
    pub distinct: Option<Vec<String>>,
    /// Whether it is a number that may rather be a name: few distinct whole ones.
    pub maybe_categorical: bool,
}

/// What a learner has seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Learned {
    /// Exchanges.
    pub predictions: u64,
    /// Their rows.
    pub rows: u64,
    /// Rows that came with outputs.
    pub rows_with_outputs: u64,
    /// Inputs, then outputs, each in the order of the exchanges.
    pub columns: Vec<LearnedColumn>,
    /// Columns past the bound, which were not learned, summed over exchanges.
    pub left_out: u64,
}

impl Learner {
    /// Learns from one exchange, to which privacy has been applied already.
    pub fn observe(&mut self, exchange: &Exchange) {
        self.predictions += 1;
        self.rows += exchange.batch.rows as u64;
        if !exchange.batch.outputs.is_empty() {
            self.answered += exchange.batch.rows as u64;
        }
        for (columns, side) in
            [(&exchange.batch.features, &mut self.features), (&exchange.batch.outputs, &mut self.outputs)]
        {
            for (position, column) in columns.iter().enumerate() {
                if !side.contains_key(column.name.as_str()) {
                    if side.len() >= MAX_LEARNED {
                        self.left_out += 1;
                        continue;
                    }
                    side.insert(
                        column.name.to_string(),
                        Counted { position, whole: true, ..Counted::default() },
                    );
                }
                if let Some(counted) = side.get_mut(column.name.as_str()) {
                    counted.add(column, position);
                }
            }
        }
    }

    /// Exchanges so far.
    pub fn predictions(&self) -> u64 {
        self.predictions
    }

    /// What was seen so far.
    pub fn learned(&self) -> Learned {
        let mut columns = Vec::with_capacity(self.features.len() + self.outputs.len());
        for (role, side, rows) in
            [(Role::Feature, &self.features, self.rows), (Role::Output, &self.outputs, self.answered)]
        {
            let mut of_side: Vec<(&String, &Counted)> = side.iter().collect();
            of_side.sort_by_key(|(_, counted)| counted.position);
            columns.extend(of_side.into_iter().map(|(name, counted)| counted.column(name, role, rows)));
        }
        Learned {
            predictions: self.predictions,
            rows: self.rows,
            rows_with_outputs: self.answered,
            columns,
            left_out: self.left_out,
        }
    }
}

impl Counted {
    fn add(&mut self, column: &Column, position: usize) {
        self.position = self.position.max(position);
        self.rows += column.values.len() as u64;
        for value in &column.values {
            match Holds::of(value) {
                None => self.missing += 1,
                Some(holds) => self.kinds[holds.index()] += 1,
            }
            match value {
                Value::Number(number) if number.is_finite() => {
                    let (least, greatest) = self.range.unwrap_or((*number, *number));
                    self.range = Some((least.min(*number), greatest.max(*number)));
                    self.whole &= number.fract() == 0.0;
                    self.tell_apart(&format!("{number}"));
                }
                Value::Text(text) => self.tell_apart(text),
                Value::Number(_) | Value::Bool(_) | Value::Missing | Value::Opaque => {}
            }
        }
    }

    fn tell_apart(&mut self, value: &str) {
        if self.many || self.distinct.contains(value) {
            return;
        }
        if self.distinct.len() == MAX_DISTINCT || value.len() > MAX_TEXT {
            self.many = true;
            self.distinct.clear();
        } else {
            self.distinct.insert(value.to_owned());
        }
    }

    fn column(&self, name: &str, role: Role, rows: u64) -> LearnedColumn {
        let kinds = self.kinds;
        let values: u64 = kinds.iter().sum();
        // A single text makes a column of numbers one of names, as for a baseline; arrays only count where they prevail.
        let scalars = values - kinds[Holds::Opaque.index()];
        let kind = if values == 0 {
            None
        } else if scalars < kinds[Holds::Opaque.index()] {
            Some(Holds::Opaque)
        } else if kinds[Holds::Categorical.index()] > 0 {
            Some(Holds::Categorical)
        } else if kinds[Holds::Numeric.index()] > 0 {
            Some(Holds::Numeric)
        } else {
            Some(Holds::Boolean)
        };
        let fitting = kind.map_or(0, |kind| kinds[kind.index()]);
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        let few = !self.many && self.whole && self.distinct.len() <= FEW;
        LearnedColumn {
            name: name.to_owned(),
            role,
            kind,
            rows: self.rows,
            missing_share: share(rows.saturating_sub(values), rows),
            other_kinds_share: share(values - fitting, values),
            range: self.range,
            distinct: (!self.many && !self.distinct.is_empty())
                .then(|| self.distinct.iter().cloned().collect()),
            // A few predictions show few values of anything.
            maybe_categorical: kind == Some(Holds::Numeric) && few && values >= 10 * FEW as u64,
        }
    }
}

impl Learned {
    /// The columns as settings: what is expected from now on, once somebody approves.
    pub fn expected(&self) -> Vec<Expected> {
        let columns = self.columns.iter().filter_map(|column| {
            Some(Expected {
                name: column.name.clone(),
                role: column.role,
                kind: column.kind?,
                optional: column.rows < self.rows_of(column.role),
            })
        });
        columns.collect()
    }

    /// Rows in which a column of `role` could have been.
    fn rows_of(&self, role: Role) -> u64 {
        if role == Role::Output { self.rows_with_outputs } else { self.rows }
    }
}
