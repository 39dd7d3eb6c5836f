//! The runs that rules would have asked for, in a replay of what is stored.
//!
//! The decision is [`policy::decide`], as ever. What came of runs that never were is not known, so three things are
//! assumed: a run begins when it is asked for, waiting for nobody's approval; it takes as long as runs of the model have
//! taken; and it ends well, so that its cause is used up.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::RunState;
use super::policy::{self, Decision, Situation};
use crate::alert::RetrainRequest;

/// A run that was really there, and that no rule asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastRun {
    /// When a worker took it.
    pub started: DateTime<Utc>,
    /// When it ended; absent while it is under way.
    pub finished: Option<DateTime<Utc>>,
    /// Whether it made a model's first version: such a run starts no cooldown.
    pub is_bootstrap: bool,
}

/// The runs of one model in a replay.
#[derive(Debug, Clone, Default)]
pub struct Rehearsal {
    past: Vec<PastRun>,
    length: TimeDelta,
    runs: Vec<RehearsedRun>,
}

/// A run that would have been written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RehearsedRun {
    /// The rule that asked.
    pub rule: String,
    /// What it would have been written down as: `suggested`, `awaiting_approval` or `queued`.
    pub state: RunState,
    /// When.
    pub at: DateTime<Utc>,
    cause: String,
}

impl RehearsedRun {
    /// Whether a worker would have taken it: a suggestion costs nothing.
    pub fn is_started(&self) -> bool {
        self.state != RunState::Suggested
    }
}

impl Rehearsal {
    /// A rehearsal among `past` runs, in which a run takes `length`.
    pub fn new(past: Vec<PastRun>, length: Duration) -> Self {
        Self { past, length: TimeDelta::from_std(length).unwrap_or_default(), runs: Vec::new() }
    }

    /// The runs so far, in order.
    pub fn runs(&self) -> &[RehearsedRun] {
        &self.runs
    }

    /// When the last run before `now` was taken: labels that came later are fresh.
    pub fn last_started(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let past = self.past.iter().map(|run| run.started).filter(|started| *started <= now);
        past.chain(self.started().map(|run| run.at)).max()
    }

    /// What would become of `request` at `now`, with so many fresh labels; `None` where labels do not decide.
    pub fn decide(
        &self,
        request: &RetrainRequest,
        now: DateTime<Utc>,
        fresh_labels: Option<u64>,
    ) -> Decision {
        // Runs have no ids here; whoever reads the decision looks at its kind alone.
        let some = Some(Uuid::nil());
        let ended = self.started().map(|run| run.at + self.length);
        let is_active = ended.clone().any(|end| now < end)
            || self.past.iter().any(|run| run.started <= now && run.finished.is_none_or(|end| now < end));
        let past = self.past.iter().filter(|run| !run.is_bootstrap).filter_map(|run| run.finished);
        let since = TimeDelta::from_std(request.policy.budget.period)
            .ok()
            .and_then(|period| now.checked_sub_signed(period))
            .unwrap_or(DateTime::UNIX_EPOCH);
        let in_period = self.started().filter(|run| run.at > since).count();
        let situation = Situation {
            now,
            same_cause: some.filter(|_| self.runs.iter().any(|run| run.cause == request.cause)),
            active: some.filter(|_| is_active),
            last_finished: past.chain(ended).filter(|end| *end <= now).max(),
            runs_in_period: u32::try_from(in_period).unwrap_or(u32::MAX),
            fresh_labels,
        };
        policy::decide(&request.policy, &situation)
    }

    /// Writes a run down.
    pub fn run(&mut self, request: &RetrainRequest, state: RunState, at: DateTime<Utc>) {
        let (rule, cause) = (request.rule.clone(), request.cause.clone());
        self.runs.push(RehearsedRun { rule, state, at, cause });
    }

    fn started(&self) -> impl Iterator<Item = &RehearsedRun> + Clone {
        self.runs.iter().filter(|run| run.is_started())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Budget, RetrainMode, RetrainPolicy};
    use crate::model::ModelName;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hour)
    }

    fn request(mode: RetrainMode, cause: &str) -> RetrainRequest {
        let hours = Duration::from_hours;
        let budget = Budget { runs: 2, period: hours(24) };
        RetrainRequest {
            model: ModelName::parse("m").unwrap(),
            rule: "R".into(),
            policy: RetrainPolicy { mode, cooldown: hours(6), budget, min_labels: 100 },
            cause: cause.into(),
            reason: String::new(),
        }
    }

    /// Asks every hour for a new cause, with so many labels; the hours in which a run is written down.
    fn asked(mut rehearsal: Rehearsal, mode: RetrainMode, labels: Option<u64>) -> Vec<i64> {
        for hour in 0..48 {
            let request = request(mode, &hour.to_string());
            if let Decision::Run(state) = rehearsal.decide(&request, at(hour), labels) {
                rehearsal.run(&request, state, at(hour));
            }
        }
        rehearsal.runs().iter().map(|run| (run.at - at(0)).num_hours()).collect()
    }

    #[test]
    fn the_guard_rails_hold_in_a_replay() {
        let rehearsal = || Rehearsal::new(Vec::new(), Duration::from_hours(1));
        // A run of an hour, a cooldown of six, two in 24 hours.
        assert_eq!(asked(rehearsal(), RetrainMode::Auto, Some(100)), [0, 7, 24, 31]);
        assert_eq!(asked(rehearsal(), RetrainMode::Approve, None), [0, 7, 24, 31]);
        assert_eq!(asked(rehearsal(), RetrainMode::Auto, Some(99)), [0; 0]);
        assert_eq!(asked(rehearsal(), RetrainMode::Suggest, Some(0)).len(), 48);
    }

    #[test]
    fn runs_that_were_there_count() {
        let past = |is_bootstrap| PastRun { started: at(2), finished: Some(at(4)), is_bootstrap };
        let with = |past| Rehearsal::new(vec![past], Duration::from_hours(1));
        // Asked at 0, in cooldown up to 7; the past run then ended at 4, and its cooldown lasts until 10.
        assert_eq!(asked(with(past(false)), RetrainMode::Auto, None), [0, 10, 24, 34]);
        assert_eq!(asked(with(past(true)), RetrainMode::Auto, None), [0, 7, 24, 31]);
        assert_eq!(with(past(true)).last_started(at(3)), Some(at(2)));
        assert_eq!(with(past(true)).last_started(at(1)), None);
    }

    #[test]
    fn one_cause_is_one_run() {
        let mut rehearsal = Rehearsal::new(Vec::new(), Duration::ZERO);
        let request = request(RetrainMode::Suggest, "c");
        assert_eq!(rehearsal.decide(&request, at(0), None), Decision::Run(RunState::Suggested));
        rehearsal.run(&request, RunState::Suggested, at(0));
        assert!(matches!(rehearsal.decide(&request, at(30), None), Decision::Hold(_)));
        assert!(!rehearsal.runs()[0].is_started());
        assert_eq!(rehearsal.last_started(at(30)), None);
    }
}
