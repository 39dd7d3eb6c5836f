//! Inhibition: while a cause fires, its consequences are not told.

use std::collections::BTreeMap;

use super::evaluate::StoredAlert;
use super::group::labels;
use super::matcher::{Matcher, all_match};

/// Alerts that `target` matches are not told while one that `source` matches fires.
#[derive(Debug, Clone, PartialEq)]
pub struct Inhibition {
    /// The cause.
    pub source: Vec<Matcher>,
    /// The consequences.
    pub target: Vec<Matcher>,
    /// Labels that both have to have in common; one that both lack counts as common.
    pub equal: Vec<String>,
}

impl Inhibition {
    /// What holds unless the settings say otherwise: a dead upstream of a model silences its drift.
    ///
    /// Shipped rules carry the labels: `cause: upstream` for the one, `about: drift` for the other.
    pub fn shipped() -> Vec<Self> {
        let matcher = |label, value| Matcher::equal(label, value).into_iter().collect();
        vec![Self {
            source: matcher("cause", "upstream"),
            target: matcher("about", "drift"),
            equal: vec!["model".to_owned()],
        }]
    }
}

/// Every inhibition with the firing alerts that are its causes.
pub(super) struct Inhibitions<'a> {
    sources: Vec<(&'a Inhibition, Vec<Cause<'a>>)>,
}

/// A firing alert and its labels.
type Cause<'a> = (&'a StoredAlert, BTreeMap<String, String>);

impl<'a> Inhibitions<'a> {
    pub(super) fn new(inhibitions: &'a [Inhibition], firing: &[&'a StoredAlert]) -> Self {
        let sources = inhibitions
            .iter()
            .map(|inhibition| {
                let causes = firing
                    .iter()
                    .map(|alert| (*alert, labels(alert)))
                    .filter(|(_, labels)| all_match(&inhibition.source, labels))
                    .collect();
                (inhibition, causes)
            })
            .collect();
        Self { sources }
    }

    /// The first cause that silences an alert with these labels.
    pub(super) fn cause(&self, alert: &BTreeMap<String, String>) -> Option<&'a StoredAlert> {
        self.sources.iter().find_map(|(inhibition, causes)| {
            // An alert that is cause and consequence at once is told: two such would silence one another.
            if !all_match(&inhibition.target, alert) || all_match(&inhibition.source, alert) {
                return None;
            }
            let common = |labels: &BTreeMap<String, String>| {
                inhibition.equal.iter().all(|label| labels.get(label) == alert.get(label))
            };
            causes.iter().find(|(_, labels)| common(labels)).map(|(cause, _)| *cause)
        })
    }
}
