//! How much each feature matters to the version in production, for the order of what a message names.

use std::collections::BTreeMap;

use super::evidence::percent;
use super::message::Item;
use crate::model::Role;

/// The share of each feature in what the production version knows; empty where that is not known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Importance(BTreeMap<String, f64>);

impl Importance {
    /// No share is known.
    pub(super) const UNKNOWN: &'static Self = &Self(BTreeMap::new());

    /// Shares by feature; what is not a share is left out.
    pub fn new(shares: BTreeMap<String, f64>) -> Self {
        Self(shares.into_iter().filter(|(_, share)| (0.0..=1.0).contains(share)).collect())
    }

    /// The share of `feature`: 0 for one that the version does not use, nothing where no share is known.
    pub fn of(&self, feature: &str) -> Option<f64> {
        if self.0.is_empty() { None } else { Some(self.0.get(feature).copied().unwrap_or(0.0)) }
    }

    /// Writes into an item that is an input how much weighs what happens to it, and a clause about its share.
    pub(super) fn weigh(&self, item: &mut Item) {
        let Some(share) = self.of(&item.subject).filter(|_| item.role == Some(Role::Feature)) else { return };
        item.importance = Some(share * self.0.len() as f64);
        item.moved.push(if share > 0.0 {
            format!("{} of what the production version knows rests on it", percent(share))
        } else {
            "the production version makes nothing of it".to_owned()
        });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::evaluate::evaluate_weighed;
    use super::super::{MAX_NOTICES, RuleSet, example};
    use super::*;

    const RULES: &str = "groups:\n- name: g\n  rules:\n  - alert: FeatureDrift\n    for_each: feature\n    \
                         expr: verdict == \"drift\"\n    receivers: [oncall]";

    fn subjects(columns: &[(&str, f64)], shares: &[(&str, f64)]) -> Vec<(String, Option<f64>)> {
        let rules = RuleSet::parse(&[("r.yaml".to_owned(), RULES.to_owned())]).unwrap();
        let importance = Importance::new(shares.iter().map(|(n, share)| ((*n).to_owned(), *share)).collect());
        let report = example::report(columns);
        let now = report.window_end;
        let found = evaluate_weighed(&rules, &report, Uuid::from_u128(7), &[], &importance, now);
        let alerts = example::told(&found.alerts, &["oncall"]).remove(0).alerts;
        alerts.into_iter().map(|notice| (notice.item.subject, notice.item.importance)).collect()
    }

    fn order(columns: &[(&str, f64)], shares: &[(&str, f64)]) -> Vec<String> {
        subjects(columns, shares).into_iter().map(|(subject, _)| subject).collect()
    }

    #[test]
    fn a_message_names_first_what_matters_most_to_the_model() {
        let columns = [("noise", 0.9), ("temp", 0.3), ("hum", 0.5)];
        assert_eq!(order(&columns, &[]), ["noise", "hum", "temp"], "by effect alone where nothing is known");
        assert_eq!(order(&columns, &[("temp", 0.8), ("hum", 0.2)]), ["temp", "hum", "noise"]);
    }

    #[test]
    fn what_is_left_out_of_a_long_message_is_what_matters_least() {
        let names: Vec<String> = (0..MAX_NOTICES + 5).map(|index| format!("f{index:02}")).collect();
        let columns: Vec<(&str, f64)> =
            names.iter().map(|name| (name.as_str(), 0.9)).chain([("temp", 0.2)]).collect();
        let shares = [("temp", 0.9), ("f00", 0.1)];
        assert_eq!(order(&columns, &shares)[..2], ["temp", "f00"]);
    }

    #[test]
    fn an_average_input_weighs_one_and_an_unused_one_nothing() {
        let shares = [("temp", 0.75), ("wind", 0.25), ("broken", f64::NAN)];
        let found = subjects(&[("temp", 0.3), ("hum", 0.5), ("wind", 0.3)], &shares);
        let expected = [("temp", 1.5), ("wind", 0.5), ("hum", 0.0)];
        assert_eq!(found, expected.map(|(name, weight)| (name.to_owned(), Some(weight))));
    }

    #[test]
    fn items_of_older_messages_have_none() {
        let text = r#"{"subject":"temp","statistics":{},"n":1,"n_reference":1,"effect":2.5,"summary":"s","moved":[],"bins":[]}"#;
        let item: Item = serde_json::from_str(text).unwrap();
        assert_eq!((item.importance, item.impact().to_bits()), (None, 2.5_f64.to_bits()));
    }
}
