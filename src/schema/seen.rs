//! What columns the exchanges of a minute had beside those of the baseline, and which they lacked: bounded counts that
//! are stored with the profile and merge exactly.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::Holds;
use crate::model::{Batch, Column, Role};
use crate::profile::Layout;

/// Columns beside the baseline's that are told apart; of further ones only the values are counted.
pub const MAX_EXTRA: usize = 64;
/// Bytes of a name that are kept.
const MAX_NAME: usize = 128;

/// A column that the baseline does not have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extra {
    /// Rows of the exchanges that had it.
    pub rows: u64,
    /// Its least place among the inputs, or the outputs, of an exchange.
    pub position: usize,
    /// Its rows by what the first value in their exchange was, in the order of [`Holds::ALL`].
    pub kinds: [u64; 4],
}

impl Extra {
    /// What it mostly was; `None` when it was always missing.
    pub fn holds(&self) -> Option<Holds> {
        let most = self.kinds.iter().max().filter(|most| **most > 0)?;
        Holds::ALL.into_iter().find(|kind| self.kinds[kind.index()] == *most)
    }
}

/// Inputs or outputs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SeenSide {
    /// Rows that were looked at.
    pub rows: u64,
    /// Columns that the baseline does not have, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Extra>,
    /// Rows of further such columns, past [`MAX_EXTRA`] names.
    pub more: u64,
    /// Rows of the exchanges that lacked a column of the baseline, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub absent: BTreeMap<String, u64>,
}

/// What some exchanges had and lacked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Inputs.
    pub features: SeenSide,
    /// Outputs, as far as there were any.
    pub outputs: SeenSide,
}

impl Seen {
    /// Looks at the columns of `batch`, against those of `layout`.
    pub fn record(&mut self, layout: &Layout, batch: &Batch) {
        self.features.record(layout, Role::Feature, &batch.features, batch.rows);
        if !batch.outputs.is_empty() {
            self.outputs.record(layout, Role::Output, &batch.outputs, batch.rows);
        }
    }

    /// Adds what other exchanges had and lacked.
    pub fn merge(&mut self, other: &Self) {
        self.features.merge(&other.features);
        self.outputs.merge(&other.outputs);
    }

    /// The side of `role`.
    pub(super) fn side(&self, role: Role) -> &SeenSide {
        if role == Role::Output { &self.outputs } else { &self.features }
    }
}

impl SeenSide {
    fn record(&mut self, layout: &Layout, role: Role, columns: &[Column], rows: usize) {
        let rows = rows as u64;
        self.rows += rows;
        let mut known = 0;
        let mut finder = layout.finder(role);
        for (position, column) in columns.iter().enumerate() {
            if finder.find(&column.name).is_some() {
                known += 1;
            } else {
                self.add_extra(column, position, rows);
            }
        }
        if known < layout.width(role) {
            let here: HashSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let expected = layout.columns().iter().filter(|column| column.role == role);
            for column in expected.filter(|column| !here.contains(column.name.as_str())) {
                match self.absent.get_mut(&column.name) {
                    Some(count) => *count += rows,
                    None => {
                        self.absent.insert(column.name.clone(), rows);
                    }
                }
            }
        }
    }

    fn add_extra(&mut self, column: &Column, position: usize, rows: u64) {
        let name = kept_name(&column.name);
        let kinds = column.values.first().and_then(Holds::of).map_or([0; 4], |kind| {
            let mut kinds = [0; 4];
            kinds[kind.index()] = rows;
            kinds
        });
        self.add(&name, &Extra { rows, position, kinds });
    }

    fn add(&mut self, name: &str, more: &Extra) {
        if let Some(held) = self.extra.get_mut(name) {
            held.rows += more.rows;
            held.position = held.position.min(more.position);
            for (own, more) in held.kinds.iter_mut().zip(more.kinds) {
                *own += more;
            }
        } else if self.extra.len() < MAX_EXTRA {
            self.extra.insert(name.to_owned(), more.clone());
        } else {
            self.more += more.rows;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.more += other.more;
        for (name, extra) in &other.extra {
            self.add(name, extra);
        }
        for (name, rows) in &other.absent {
            *self.absent.entry(name.clone()).or_default() += rows;
        }
    }
}

/// The name as it can be stored: cut, and without the zero characters that `jsonb` refuses.
fn kept_name(name: &str) -> Cow<'_, str> {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let name = &name[..end];
    if name.contains('\0') { Cow::Owned(name.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(name) }
}
