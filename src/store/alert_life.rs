//! Alerts as people ask for them: what fires and who knows, and the whole life of one.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{PgConnection, PgPool, Row};

use super::alert::TransitionRow;
use super::alert_ack::AckError;
use super::alert_event::EventRow;
use super::{StoreError, alert, alert_ack, alert_event, alert_group};
use crate::alert::{Ack, AckTarget, StoredAlert, StoredGroup, Suppression};
use crate::model::ModelName;

/// Most alerts of one list.
const MAX_LISTED: usize = 10_000;

/// Most transitions, and most events, of one life.
const MAX_HISTORY: i64 = 1_000;

/// An alert with what its groups say of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertView {
    /// The alert.
    #[serde(flatten)]
    pub alert: StoredAlert,
    /// Keys of its groups.
    pub groups: Vec<String>,
    /// Whether any receiver knows that it fires.
    pub told: bool,
    /// Why it is not told, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppression>,
    /// Who has taken it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Ack>,
}

impl AlertView {
    fn of(alert: StoredAlert, groups: &[&StoredGroup], acks: &[&Ack]) -> Self {
        let since = alert.state.firing_since();
        let members = || groups.iter().filter_map(|group| group.members.get(&alert.fingerprint));
        let holds = |ack: &Ack| match &ack.target {
            AckTarget::Alert { fingerprint, since: of } => {
                *fingerprint == alert.fingerprint && Some(*of) == since
            }
            AckTarget::Group { key } => since.is_some() && groups.iter().any(|group| group.key == *key),
        };
        Self {
            groups: groups.iter().map(|group| group.key.clone()).collect(),
            told: members().any(|member| member.told),
            suppressed: members().find_map(|member| member.suppressed.clone()),
            acknowledged: acks.iter().find(|ack| holds(ack)).map(|ack| (*ack).clone()),
            alert,
        }
    }
}

/// Alerts of `model`, or of every model: those that fire or wait, and with `all` those that are over too.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub async fn list(pool: &PgPool, model: Option<&ModelName>, all: bool) -> Result<Vec<AlertView>, StoreError> {
    let mut db = pool.acquire().await?;
    let mut alerts = alert::list(&mut *db, model).await?;
    alerts.retain(|alert| all || alert.state.as_str() != "resolved");
    alerts.truncate(MAX_LISTED);
    views(&mut db, alerts).await
}

async fn views(db: &mut PgConnection, alerts: Vec<StoredAlert>) -> Result<Vec<AlertView>, StoreError> {
    let groups = alert_group::list(&mut *db, None).await?;
    let mut of_alert: BTreeMap<&str, Vec<&StoredGroup>> = BTreeMap::new();
    for group in &groups {
        for fingerprint in group.members.keys() {
            of_alert.entry(fingerprint).or_default().push(group);
        }
    }
    let fingerprints: Vec<String> = alerts.iter().map(|alert| alert.fingerprint.clone()).collect();
    let keys: Vec<String> = groups.iter().map(|group| group.key.clone()).collect();
    let acks = alert_ack::of(&mut *db, &fingerprints, &keys).await?;
    let mut of_target: BTreeMap<&str, Vec<&Ack>> = BTreeMap::new();
    for ack in &acks {
        let (AckTarget::Alert { fingerprint: target, .. } | AckTarget::Group { key: target }) = &ack.target;
        of_target.entry(target).or_default().push(ack);
    }
    let view = |alert: StoredAlert| {
        let groups = of_alert.get(alert.fingerprint.as_str()).cloned().unwrap_or_default();
        let targets = groups.iter().map(|group| group.key.as_str()).chain([alert.fingerprint.as_str()]);
        let acks: Vec<&Ack> = targets.filter_map(|target| of_target.get(target)).flatten().copied().collect();
        AlertView::of(alert.clone(), &groups, &acks)
    };
    Ok(alerts.into_iter().map(view).collect())
}

/// The whole life of one alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertLife {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Where it stands; absent when it is inactive.
    pub alert: Option<AlertView>,
    /// Every change of its state with the evidence, oldest first.
    pub transitions: Vec<TransitionRow>,
    /// Who was told when, and why not, oldest first.
    pub events: Vec<EventRow>,
}

/// The lives of the alert, or of the alerts of the open group, whose id begins with `prefix`.
///
/// # Errors
///
/// [`AckError::Unknown`] and [`AckError::Ambiguous`].
pub async fn show(pool: &PgPool, prefix: &str) -> Result<Vec<AlertLife>, AckError> {
    let mut db = pool.acquire().await?;
    let fingerprints = match alert_ack::find(&mut db, prefix).await {
        Ok(alert_ack::Found::Alert(alert)) => vec![alert.fingerprint],
        Ok(alert_ack::Found::Group(group)) => group.members.into_keys().collect(),
        // Of an alert that is inactive only its history is left.
        Err(AckError::Unknown(prefix)) => vec![past(&mut db, &prefix).await?],
        Err(other) => return Err(other),
    };
    let alerts = alert::firing_or(&mut *db, None, &fingerprints).await?;
    let alerts = alerts.into_iter().filter(|alert| fingerprints.contains(&alert.fingerprint)).collect();
    let mut views = views(&mut db, alerts).await?;
    let mut lives = Vec::with_capacity(fingerprints.len());
    for fingerprint in fingerprints {
        let at = views.iter().position(|view| view.alert.fingerprint == fingerprint);
        lives.push(AlertLife {
            alert: at.map(|at| views.swap_remove(at)),
            transitions: alert::life(&mut *db, &fingerprint, MAX_HISTORY).await?,
            events: alert_event::of_alert(&mut db, &fingerprint, MAX_HISTORY).await?,
            fingerprint,
        });
    }
    Ok(lives)
}

async fn past(db: &mut PgConnection, prefix: &str) -> Result<String, AckError> {
    let rows = sqlx::query(
        "select distinct fingerprint from alert_transition where starts_with(fingerprint, $1) limit 2",
    )
    .bind(prefix.to_ascii_lowercase())
    .fetch_all(db)
    .await?;
    match rows.as_slice() {
        [one] if prefix.len() >= alert_ack::MIN_PREFIX => Ok(one.get("fingerprint")),
        [_, _] => Err(AckError::Ambiguous(prefix.to_owned())),
        _ => Err(AckError::Unknown(prefix.to_owned())),
    }
}
