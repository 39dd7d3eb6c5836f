//! The names that rules may use between windows, and what they stand for.

use super::performance_names;
use super::traffic_names;
use super::view::Look;
use super::vocabulary::{BOTH, Fact, Kind, Variable, variable};
use crate::performance::Cohort;

/// Every name: what is known of a model without a report.
pub(super) fn variables() -> impl Iterator<Item = Variable> {
    let named = [
        variable("no_data", Kind::Truth, BOTH),
        variable("seconds_since_prediction", Kind::Number, BOTH),
        variable("seconds_since_report", Kind::Number, BOTH),
        variable("seconds_unjudged", Kind::Number, BOTH),
        variable("seconds_since_label", Kind::Number, BOTH),
        variable("window_seconds", Kind::Number, BOTH),
        variable("loss_share", Kind::Number, BOTH),
        variable("model", Kind::Text, BOTH),
    ];
    named.into_iter().chain(traffic_names::figures()).chain(performance_names::variables())
}

/// What `name` stands for; absent when it is not known: no prediction, report or label yet, too few earlier windows.
pub(super) fn fact<'a>(look: &'a Look, cohort: Option<&'a Cohort>, name: &str) -> Option<Fact<'a>> {
    if performance_names::is_one(name) {
        return performance_names::fact(look, cohort?, name);
    }
    let seconds = match name {
        "no_data" => {
            let silent = look.seconds_since(look.last_prediction?);
            return Some(Fact::Truth(silent >= look.over()));
        }
        "model" => return Some(Fact::Text(look.model.as_str())),
        // What did not pass the tap has no traffic, and is there all the same.
        "requests" | "traffic.requests" if look.losses.seen == 0 => 0.0,
        "loss_share" if look.losses.seen == 0 => return None,
        "loss_share" => look.losses.share(),
        "seconds_since_prediction" => look.seconds_since(look.last_prediction?),
        "seconds_since_report" => look.seconds_since(look.last_report?),
        // Nothing waits for a verdict.
        "seconds_unjudged" => look.unjudged_since.map_or(0.0, |since| look.seconds_since(since)),
        "seconds_since_label" => look.seconds_since(look.last_label?),
        "window_seconds" => look.window.as_secs_f64(),
        figure => return traffic_names::figure(&look.figures, figure).map(Fact::Number),
    };
    Some(Fact::Number(seconds))
}
