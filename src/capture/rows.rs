//! Some captured rows, column by column, with their labels.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};

use super::columns::{Filling, RowColumn};
use crate::frames::Texts;
use crate::model::{Name, Role};
use crate::store::captured;

/// Some captured rows; every column and every list has one entry per row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// The ids of the rows; labels carry the same.
    pub ids: Texts,
    /// When each prediction happened.
    pub times: Vec<DateTime<Utc>>,
    /// The versions that answered, empty where unknown.
    pub model_versions: Texts,
    /// What went into the model.
    pub features: Vec<RowColumn>,
    /// What came out of it.
    pub outputs: Vec<RowColumn>,
    /// The labels: a scalar, or an object that holds the target by name.
    pub labels: Vec<Option<Json>>,
    /// Which rows of the columns these are, where the columns hold more than these rows.
    pub(super) picked: Option<Vec<usize>>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The feature called `name`, if these rows have it.
    pub fn feature(&self, name: &str) -> Option<&RowColumn> {
        self.features.iter().find(|column| column.name == *name)
    }

    /// The places of these rows in their columns, in order.
    pub fn places(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).map(|row| self.picked.as_ref().map_or(row, |picked| picked[row]))
    }

    /// The rows for which `keep` says so, given their number here.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let kept: Vec<usize> = (0..self.len()).filter(|&row| keep(row)).collect();
        if kept.len() == self.len() {
            return;
        }
        self.picked =
            Some(kept.iter().map(|&row| self.picked.as_ref().map_or(row, |held| held[row])).collect());
        self.times = kept.iter().map(|&row| self.times[row]).collect();
        let texts = |texts: &Texts| {
            let mut picked = Texts::default();
            for &row in &kept {
                picked.push(texts.get(row));
            }
            picked
        };
        (self.ids, self.model_versions) = (texts(&self.ids), texts(&self.model_versions));
        if !self.labels.is_empty() {
            self.labels = kept.iter().map(|&row| self.labels[row].take()).collect();
        }
    }
}

/// Columns that are filled from rows as they are stored in the database.
#[derive(Debug, Default)]
pub(super) struct Columns {
    features: BTreeMap<String, Filling>,
    outputs: BTreeMap<String, Filling>,
    rows: usize,
}

impl Columns {
    /// Adds a row.
    pub(super) fn push(&mut self, features: &Map<String, Json>, outputs: &Map<String, Json>) {
        for (columns, members) in [(&mut self.features, features), (&mut self.outputs, outputs)] {
            for (name, stored) in members {
                let value = captured::value(stored);
                if let Some(column) = columns.get_mut(name) {
                    column.set(self.rows, &value);
                } else {
                    let mut column = Filling::default();
                    column.set(self.rows, &value);
                    columns.insert(name.clone(), column);
                }
            }
        }
        self.rows += 1;
    }

    /// Values held.
    pub(super) fn cells(&self) -> usize {
        self.rows.saturating_mul(self.features.len() + self.outputs.len())
    }

    /// Features and outputs, each by name.
    pub(super) fn finish(self) -> (Vec<RowColumn>, Vec<RowColumn>) {
        let rows = self.rows;
        let finish = |columns: BTreeMap<String, Filling>| {
            columns.into_iter().map(|(name, column)| column.finish(Name::from(name), rows)).collect()
        };
        (finish(self.features), finish(self.outputs))
    }
}

/// The word before a column's name in a file.
pub(super) fn prefix(role: Role) -> &'static str {
    match role {
        Role::Output => "outputs",
        Role::Feature | Role::Derived => "features",
    }
}
