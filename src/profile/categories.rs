//! The categories of a categorical feature: a cell for each frequent one, one for the rest, one for the unseen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

/// Frozen categories: `top` have a cell each, then follow the cells `other` and `unseen`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Categories {
    top: Vec<String>,
    other: BTreeSet<String>,
    index: HashMap<String, usize>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    top: Vec<String>,
    other: BTreeSet<String>,
}

impl From<Stored> for Categories {
    fn from(stored: Stored) -> Self {
        let index = stored.top.iter().enumerate().map(|(cell, name)| (name.clone(), cell)).collect();
        Self { top: stored.top, other: stored.other, index }
    }
}

impl From<Categories> for Stored {
    fn from(categories: Categories) -> Self {
        Self { top: categories.top, other: categories.other }
    }
}

impl Categories {
    /// Keeps the `limit` most frequent categories by count, ties by name; the rest are known as `other`.
    pub fn choose(counts: &BTreeMap<String, u64>, limit: usize) -> Self {
        let mut ranked: Vec<(&String, u64)> = counts.iter().map(|(name, &count)| (name, count)).collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let (top, other) = ranked.split_at(limit.min(ranked.len()));
        Self::from(Stored {
            top: top.iter().map(|(name, _)| (*name).clone()).collect(),
            other: other.iter().map(|(name, _)| (*name).clone()).collect(),
        })
    }

    /// Number of cells: the top categories, `other`, `unseen`.
    pub fn cells(&self) -> usize {
        self.top.len() + 2
    }

    /// The cell of `name`.
    pub fn cell(&self, name: &str) -> usize {
        match self.index.get(name) {
            Some(&cell) => cell,
            None if self.other.contains(name) => self.top.len(),
            None => self.unseen(),
        }
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
}
