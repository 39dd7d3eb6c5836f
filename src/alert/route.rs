//! Where alerts go: a tree of routes by labels, as in Alertmanager.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::inhibit::Inhibition;
use super::matcher::{Matcher, all_match};
use super::mute::Maintenance;
use super::rule::RuleSet;
use crate::yaml::{Problem, hint};

/// Labels that every alert has, whatever its rule says.
pub(super) const OWN_LABELS: [&str; 4] = ["model", "rule", "subject", "segment"];

/// Labels that shipped rules have, known even where those are not loaded.
const SHIPPED_LABELS: [&str; 3] = ["severity", "cause", "about"];

/// What alerts of one route are put together by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// Every label: each alert is a group of its own.
    All,
    /// These labels; those that an alert lacks count as empty.
    Labels(BTreeSet<String>),
}

impl GroupBy {
    /// Whether alerts of different models never share a group.
    fn keeps_models_apart(&self) -> bool {
        match self {
            Self::All => true,
            Self::Labels(labels) => labels.contains("model"),
        }
    }

    /// The labels of the group that an alert with `labels` belongs to.
    pub(super) fn group(&self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let belongs = |label: &String| match self {
            Self::All => true,
            Self::Labels(wanted) => wanted.contains(label),
        };
        labels.iter().filter(|(label, _)| belongs(label)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// Who is told when nobody has acknowledged a group for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// After the group was first told.
    pub after: Duration,
    /// Who is told then.
    pub receivers: Vec<String>,
}

/// One route with all it takes from the routes above it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Names the route by the matchers on the way to it; groups are kept under it.
    pub id: String,
    /// Alerts that all of these match go here.
    pub matchers: Vec<Matcher>,
    /// Who is told.
    pub receivers: Vec<String>,
    /// What is told together.
    pub group_by: GroupBy,
    /// How long a new group waits for more alerts before it is told.
    pub group_wait: Duration,
    /// Least time between two messages about changes of a group.
    pub group_interval: Duration,
    /// Time after which a group that still fires is told again.
    pub repeat_interval: Duration,
    /// Who is told next, in the order of time.
    pub escalate: Vec<Escalation>,
    /// Names of maintenance windows in which nothing is told.
    pub mute: Vec<String>,
    /// Whether the routes after this one are looked at too.
    pub goes_on: bool,
    /// Routes below, of which the first that matches is taken.
    pub routes: Vec<Route>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            id: "{}".to_owned(),
            matchers: Vec::new(),
            receivers: Vec::new(),
            group_by: GroupBy::Labels(BTreeSet::from(["model".to_owned()])),
            group_wait: Duration::ZERO,
            group_interval: Duration::ZERO,
            repeat_interval: Duration::from_hours(24),
            escalate: Vec::new(),
            mute: Vec::new(),
            goes_on: false,
            routes: Vec::new(),
        }
    }
}

impl Route {
    /// This route and all below it.
    pub(super) fn all(&self) -> Vec<&Self> {
        let mut found = vec![self];
        let mut next = 0;
        while let Some(route) = found.get(next).copied() {
            found.extend(&route.routes);
            next += 1;
        }
        found
    }

    fn find<'a>(&'a self, labels: &BTreeMap<String, String>, found: &mut Vec<&'a Self>) {
        let before = found.len();
        for route in self.routes.iter().filter(|route| all_match(&route.matchers, labels)) {
            route.find(labels, found);
            if !route.goes_on {
                break;
            }
        }
        if found.len() == before {
            found.push(self);
        }
    }
}

/// A route that an alert takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way<'a> {
    /// What groups are kept under.
    pub(super) id: String,
    /// Who is told.
    pub(super) receivers: &'a [String],
    /// Times and grouping.
    pub(super) route: &'a Route,
}

/// Everything that the settings say of who is told what, and when not.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// The tree.
    pub root: Route,
    /// Which alerts silence which.
    pub inhibitions: Vec<Inhibition>,
    /// Times in which alerts are not told.
    pub maintenance: Vec<Maintenance>,
    /// Labels that the settings name, each with its place.
    pub(super) named: Vec<(String, Problem)>,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            root: Route::default(),
            inhibitions: Inhibition::shipped(),
            maintenance: Vec::new(),
            named: Vec::new(),
        }
    }
}

impl Routing {
    /// One message per window and model, to all of `receivers`.
    pub fn to(receivers: &[String]) -> Self {
        Self { root: Route { receivers: receivers.to_vec(), ..Route::default() }, ..Self::default() }
    }

    /// Whether what is told of one model never depends on another.
    pub fn keeps_models_apart(&self) -> bool {
        self.root.all().iter().all(|route| route.group_by.keeps_models_apart())
            && self.inhibitions.iter().all(|inhibition| inhibition.equal.iter().any(|label| label == "model"))
    }

    /// The routes of an alert: the rule's own receivers go before the tree, with the times of its root.
    pub(super) fn ways<'a>(&'a self, labels: &BTreeMap<String, String>, own: &'a [String]) -> Vec<Way<'a>> {
        if !own.is_empty() {
            let id = format!("receivers={}", own.join(","));
            return vec![Way { id, receivers: own, route: &self.root }];
        }
        let mut found = Vec::new();
        self.root.find(labels, &mut found);
        found
            .into_iter()
            .map(|route| Way { id: route.id.clone(), receivers: &route.receivers, route })
            .collect()
    }

    /// Checks that every label the settings name is one that an alert of `rules` can have.
    ///
    /// # Errors
    ///
    /// Every label that no alert has, with its place.
    pub fn check_labels(&self, rules: &RuleSet) -> Result<(), Vec<Problem>> {
        let of_rules = rules.rules.iter().flat_map(|rule| rule.labels.keys().map(String::as_str));
        let known: BTreeSet<&str> = OWN_LABELS.into_iter().chain(SHIPPED_LABELS).chain(of_rules).collect();
        let problems: Vec<Problem> = self
            .named
            .iter()
            .filter(|(label, _)| !known.contains(label.as_str()))
            .map(|(label, place)| {
                let near = hint(label, known.iter().copied());
                let message = format!("{}no alert has the label `{label}`{near}", place.message);
                Problem { message, ..place.clone() }
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}
