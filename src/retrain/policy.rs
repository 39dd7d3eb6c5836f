//! When an alert may become a training run: pure, with the reason in a sentence.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::spec::RunState;
use crate::alert::{Budget, RetrainMode, RetrainPolicy};

/// What is known about a model's runs at the moment of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation {
    /// The moment.
    pub now: DateTime<Utc>,
    /// A run that the same cause already started; a rejected one gives its cause back, so that an alert which goes
    /// on gets another try once cooldown, budget and fresh labels allow it.
    pub same_cause: Option<Uuid>,
    /// The run that waits for approval, is queued or is running.
    pub active: Option<Uuid>,
    /// When the last run that a worker took ended.
    pub last_finished: Option<DateTime<Utc>>,
    /// Runs asked for by rules within the policy's budget period.
    pub runs_in_period: u32,
    /// Labels that came since the last run was started; none where labels do not decide (a configured file).
    pub fresh_labels: Option<u64>,
}

/// What becomes of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A run is written down in this state: `suggested`, `awaiting_approval` or `queued`.
    Run(RunState),
    /// Nothing is written down.
    Hold(Hold),
}

/// Why a request does not become a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The same cause already has its run.
    SameCause(Uuid),
    /// The model has a run under way.
    Active(Uuid),
    /// The last run ended too recently.
    Cooldown {
        /// The policy's span.
        cooldown: Duration,
        /// When it is over.
        until: DateTime<Utc>,
    },
    /// The period's runs are used up.
    Budget {
        /// The policy's budget.
        budget: Budget,
        /// Runs within the period.
        used: u32,
    },
    /// Too little has been learnt since the last run.
    FewLabels {
        /// Labels since the last run.
        fresh: u64,
        /// Labels needed.
        needed: u64,
    },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameCause(run) => write!(f, "the same cause already has run {run}"),
            Self::Active(run) => write!(f, "run {run} of the model has not ended"),
            Self::Cooldown { cooldown, until } => {
                write!(f, "the cooldown of {} lasts until {}", span(*cooldown), until.format("%FT%TZ"))
            }
            Self::Budget { budget, used } => {
                write!(f, "{used} of {} runs per {} are used", budget.runs, span(budget.period))
            }
            Self::FewLabels { fresh, needed } => {
                write!(f, "{fresh} labels came since the last run, {needed} are needed")
            }
        }
    }
}

/// Decides whether an alert under `policy` becomes a run.
///
/// A suggestion costs nothing, so only the cause and a run under way hold it back; approval and automatic start
/// are also held back by cooldown, budget and fresh labels, in this order.
pub fn decide(policy: &RetrainPolicy, situation: &Situation) -> Decision {
    if let Some(run) = situation.same_cause {
        return Decision::Hold(Hold::SameCause(run));
    }
    if let Some(run) = situation.active {
        return Decision::Hold(Hold::Active(run));
    }
    let state = match policy.mode {
        RetrainMode::Suggest => return Decision::Run(RunState::Suggested),
        RetrainMode::Approve => RunState::AwaitingApproval,
        RetrainMode::Auto => RunState::Queued,
    };
    if let Some(finished) = situation.last_finished
        && let Some(until) = chrono::Duration::from_std(policy.cooldown)
            .ok()
            .and_then(|span| finished.checked_add_signed(span))
        && situation.now < until
    {
        return Decision::Hold(Hold::Cooldown { cooldown: policy.cooldown, until });
    }
    if situation.runs_in_period >= policy.budget.runs {
        return Decision::Hold(Hold::Budget { budget: policy.budget, used: situation.runs_in_period });
    }
    if let Some(fresh) = situation.fresh_labels
        && fresh < policy.min_labels
    {
        return Decision::Hold(Hold::FewLabels { fresh, needed: policy.min_labels });
    }
    Decision::Run(state)
}

/// `6h`, `1d`, `90s`: the largest unit that divides the span.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= length && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hours(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::Duration::hours(hours)
    }

    fn free() -> Situation {
        Situation {
            now: hours(100),
            same_cause: None,
            active: None,
            last_finished: None,
            runs_in_period: 0,
            fresh_labels: Some(500),
        }
    }

    fn policy(mode: RetrainMode) -> RetrainPolicy {
        RetrainPolicy { mode, ..RetrainPolicy::default() }
    }

    #[track_caller]
    fn check(mode: RetrainMode, situation: &Situation, expected: &str) {
        let said = match decide(&policy(mode), situation) {
            Decision::Run(state) => state.as_str().to_owned(),
            Decision::Hold(hold) => hold.to_string(),
        };
        assert!(said.contains(expected), "{said:?} does not contain {expected:?}");
    }

    #[test]
    fn the_mode_names_the_state() {
        check(RetrainMode::Suggest, &free(), "suggested");
        check(RetrainMode::Approve, &free(), "awaiting_approval");
        check(RetrainMode::Auto, &free(), "queued");
    }

    #[test]
    fn each_guard_holds_back() {
        let auto = RetrainMode::Auto;
        check(auto, &Situation { same_cause: Some(Uuid::nil()), ..free() }, "same cause");
        check(auto, &Situation { active: Some(Uuid::nil()), ..free() }, "has not ended");
        let recent = Situation { last_finished: Some(hours(95)), ..free() };
        check(auto, &recent, "cooldown of 6h lasts until 1970-01-05T05:00:00Z");
        check(auto, &Situation { last_finished: Some(hours(94)), ..free() }, "queued");
        check(auto, &Situation { runs_in_period: 2, ..free() }, "2 of 2 runs per 1d are used");
        check(auto, &Situation { fresh_labels: Some(499), ..free() }, "499 labels came");
        check(auto, &Situation { fresh_labels: None, ..free() }, "queued");
    }

    #[test]
    fn a_suggestion_needs_no_labels() {
        check(RetrainMode::Suggest, &Situation { fresh_labels: Some(0), ..free() }, "suggested");
    }

    proptest! {
        #[test]
        fn never_two_runs_at_once(used in 0_u32..5, labels in 0_u64..1000, ago in 0_i64..50) {
            let situation = Situation {
                active: Some(Uuid::nil()),
                runs_in_period: used,
                fresh_labels: Some(labels),
                last_finished: Some(hours(100 - ago)),
                ..free()
            };
            for mode in [RetrainMode::Suggest, RetrainMode::Approve, RetrainMode::Auto] {
                prop_assert!(matches!(decide(&policy(mode), &situation), Decision::Hold(_)));
            }
        }
    }
}
