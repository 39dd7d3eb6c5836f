//! The categories of a categorical feature: a cell for each frequent one, one for the rest, one for the unseen.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bloom::Bloom;
use super::hash::stable_hash;

/// Frozen categories: `top` have a cell each, then follow the cells `other` and `unseen`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Categories {
    top: Vec<String>,
    other: Others,
    /// Cell of a hash, open addressing; `u32::MAX` is free.
    table: Vec<(u64, u32)>,
}

/// The categories of the baseline without a cell of their own.
#[derive(Debug, Clone, PartialEq)]
pub enum Others {
    /// All of their names.
    Names(BTreeSet<String>),
    /// Too many to name: a filter that takes about one unseen value in ten thousand for one of them.
    Filter(Bloom),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    top: Vec<String>,
    other: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other_filter: Option<Bloom>,
}

const FREE: u32 = u32::MAX;

impl From<Stored> for Categories {
    fn from(stored: Stored) -> Self {
        let other = stored.other_filter.map_or(Others::Names(stored.other), Others::Filter);
        Self::new(stored.top, other)
    }
}

impl From<Categories> for Stored {
    fn from(categories: Categories) -> Self {
        let (other, other_filter) = match categories.other {
            Others::Names(names) => (names, None),
            Others::Filter(filter) => (BTreeSet::new(), Some(filter)),
        };
        Self { top: categories.top, other, other_filter }
    }
}

impl Categories {
    /// `top` get a cell each, in this order; `other` are known.
    pub fn new(top: Vec<String>, other: Others) -> Self {
        let mut table = vec![(0, FREE); (top.len() * 2).next_power_of_two().max(2)];
        for (cell, name) in (0_u32..).zip(&top) {
            let hash = stable_hash(name);
            let mut at = slot(hash, table.len());
            while table[at].1 != FREE {
                at = (at + 1) % table.len();
            }
            table[at] = (hash, cell);
        }
        Self { top, other, table }
    }

    /// Keeps the `limit` most frequent categories by count, ties by name; the rest are known as `other`.
    pub fn choose(counts: &BTreeMap<String, u64>, limit: usize) -> Self {
        let mut ranked: Vec<(&String, u64)> = counts.iter().map(|(name, &count)| (name, count)).collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let (top, other) = ranked.split_at(limit.min(ranked.len()));
        Self::new(
            top.iter().map(|(name, _)| (*name).clone()).collect(),
            Others::Names(other.iter().map(|(name, _)| (*name).clone()).collect()),
        )
    }

    /// Number of cells: the top categories, `other`, `unseen`.
    pub fn cells(&self) -> usize {
        self.top.len() + 2
    }

    /// The categories with a cell of their own, in the order of the cells.
    pub fn top(&self) -> &[String] {
        &self.top
    }

    /// The other categories of the baseline.
    pub fn others(&self) -> &Others {
        &self.other
    }

    /// The cell of `name`.
    pub fn cell(&self, name: &str) -> usize {
        self.cell_of_hash(stable_hash(name), name)
    }

    /// The cell of `name`, whose [`stable_hash`] is `hash`.
    pub(super) fn cell_of_hash(&self, hash: u64, name: &str) -> usize {
        let mut at = slot(hash, self.table.len());
        loop {
            let (held, cell) = self.table[at];
            if cell == FREE {
                break;
            }
            if held == hash && self.top[cell as usize] == name {
                return cell as usize;
            }
            at = (at + 1) % self.table.len();
        }
        let known = match &self.other {
            Others::Names(names) => names.contains(name),
            Others::Filter(filter) => filter.contains(hash),
        };
        if known { self.other_cell() } else { self.unseen() }
    }

    /// The cell of the baseline's other categories.
    pub fn other_cell(&self) -> usize {
        self.top.len()
    }

    /// The cell of values that the baseline never had.
    pub fn unseen(&self) -> usize {
        self.top.len() + 1
    }

    /// What cell `index` covers, for people.
    pub fn label(&self, index: usize) -> String {
        match self.top.get(index) {
            Some(name) => name.clone(),
            None if index == self.top.len() => "other".to_owned(),
            None => "unseen".to_owned(),
        }
    }
}

fn slot(hash: u64, length: usize) -> usize {
    (hash >> 20 & (length as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_by_name_and_the_rest_is_other() {
        let counts = [("b", 2), ("a", 2), ("c", 5), ("d", 1)].map(|(name, n)| (name.to_owned(), n)).into();
        let categories = Categories::choose(&counts, 2);
        let cells: Vec<usize> = ["c", "a", "b", "d", "z"].iter().map(|name| categories.cell(name)).collect();
        assert_eq!(cells, [0, 1, 2, 2, 3]);
        let labels: Vec<String> = (0..categories.cells()).map(|cell| categories.label(cell)).collect();
        assert_eq!(labels, ["c", "a", "other", "unseen"]);
    }

    #[test]
    fn every_name_finds_its_cell() {
        for n in [0, 1, 2, 3, 255, 256, 257, 3000] {
            let counts = (0..n).map(|i| (format!("name {i}"), 1)).collect();
            let categories = Categories::choose(&counts, 1000);
            for (cell, name) in categories.top().iter().enumerate() {
                assert_eq!(categories.cell(name), cell);
            }
            assert_eq!(categories.cell("another"), categories.unseen());
        }
    }

    #[test]
    fn too_many_names_become_a_filter() {
        let mut filter = Bloom::default();
        (0..200_000).for_each(|i| filter.insert(stable_hash(&format!("id {i}"))));
        let categories = Categories::new(vec!["a".into()], Others::Filter(filter));
        assert_eq!((categories.cell("a"), categories.cell("id 123456")), (0, 1));
        let taken = (0..50_000).filter(|i| categories.cell(&format!("new {i}")) == 1).count();
        assert!(taken < 30, "{taken} of 50,000 unseen values taken for known ones");
        let text = serde_json::to_string(&categories).unwrap();
        assert_eq!(serde_json::from_str::<Categories>(&text).unwrap(), categories);
    }
}
