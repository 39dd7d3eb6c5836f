//! A message of made-up data: what a receiver is tested with, and what templates are checked against.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::message::{BinMove, Group, Item, MESSAGE_VERSION, Message, NextStep, Notice, Occasion, Status};
use crate::drift::Verdict;
use crate::model::{FeatureKind, ModelName, Role};

/// A test message to `receiver`, of model `model`; every field that a message can have is there in its first alert.
pub fn sample(receiver: &str, model: &ModelName, id: Uuid, now: DateTime<Utc>) -> Message {
    let command =
        |purpose: &str, command: &str| NextStep { purpose: purpose.to_owned(), command: command.to_owned() };
    let first = drifted(model, now, "temperature", 3.4, Some(id));
    let second = Notice { annotations: BTreeMap::new(), ..drifted(model, now, "humidity", 1.6, Some(id)) };
    Message {
        version: MESSAGE_VERSION,
        id,
        receiver: receiver.to_owned(),
        status: Status::Firing,
        occasion: Occasion::Test,
        group: Group {
            key: format!("test-{id}"),
            labels: BTreeMap::from([
                ("model".to_owned(), model.to_string()),
                ("rule".to_owned(), "ReceiverTest".to_owned()),
            ]),
            since: now - TimeDelta::hours(1),
        },
        summary: "a test of this receiver with made-up data".to_owned(),
        alerts: vec![first, second],
        more: 0,
        next: vec![command("See all receivers", "driftline receivers list")],
    }
}

fn drifted(
    model: &ModelName,
    now: DateTime<Utc>,
    subject: &str,
    effect: f64,
    report: Option<Uuid>,
) -> Notice {
    let bin =
        |label: &str, reference: f64, current: f64| BinMove { label: label.to_owned(), reference, current };
    let psi = effect / 10.0;
    let summary = format!("{subject} drifted: PSI {psi:.2} (made up)");
    Notice {
        fingerprint: format!("test-{subject}"),
        status: Status::Firing,
        model: model.clone(),
        rule: "ReceiverTest".to_owned(),
        labels: BTreeMap::from([("severity".to_owned(), "info".to_owned())]),
        annotations: BTreeMap::from([("summary".to_owned(), summary.clone())]),
        expression: "verdict == \"drift\"".to_owned(),
        firing_since: now - TimeDelta::hours(1),
        report,
        baseline: Some("0123456789ab".to_owned()),
        window_start: now - TimeDelta::hours(1),
        window_end: now,
        verdict: Some(Verdict::Drift),
        rows: 1200,
        rows_reference: 50_000,
        loss_share: 0.002,
        retrain: None,
        item: Item {
            subject: subject.to_owned(),
            role: Some(Role::Feature),
            kind: Some(FeatureKind::Numeric),
            verdict: Some(Verdict::Drift),
            p: Some(1.2e-9),
            statistics: BTreeMap::from([("psi".to_owned(), psi)]),
            n: 1188,
            n_reference: 49_900,
            effect,
            importance: None,
            summary,
            moved: vec![
                "its mean moved up by 0.62 standard deviations".to_owned(),
                format!("PSI {psi:.2} (floor 0.10, p 1.2e-9)"),
            ],
            bins: vec![
                bin("(-inf, 8.2]", 0.20, 0.06),
                bin("(8.2, 14.1]", 0.20, 0.13),
                bin("(19.8, 24.6]", 0.20, 0.27),
                bin("(24.6, inf)", 0.20, 0.34),
            ],
        },
    }
}
