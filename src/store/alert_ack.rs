//! Acknowledgements, and finding the alert or group that a person means.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use thiserror::Error;
use uuid::Uuid;

use super::{StoreError, alert, alert_event, alert_group};
use crate::alert::{Ack, AckTarget, AlertState, GroupEvent, Happening, StoredAlert, StoredGroup, WordError};

/// Fewest characters by which a person may name an alert or a group.
pub(super) const MIN_PREFIX: usize = 4;

/// Why nothing was found or acknowledged.
#[derive(Debug, Error)]
pub enum AckError {
    /// It does not say who or why.
    #[error(transparent)]
    Refused(#[from] WordError),
    /// No alert and no group has such an id.
    #[error("there is no alert or group `{0}`; `driftline alerts list` names them")]
    Unknown(String),
    /// More than one has.
    #[error("`{0}` begins more than one id; give more of it")]
    Ambiguous(String),
    /// There is nothing to take on.
    #[error("{rule} of {subject} is not firing")]
    NotFiring {
        /// The rule.
        rule: String,
        /// The subject.
        subject: String,
    },
    /// The database refused or was not reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for AckError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What an id stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// An alert, whatever its state.
    Alert(Box<StoredAlert>),
    /// An open group.
    Group(Box<StoredGroup>),
}

/// The alert or open group whose fingerprint or key begins with `prefix`.
///
/// # Errors
///
/// [`AckError::Unknown`] and [`AckError::Ambiguous`].
pub async fn find(db: &mut PgConnection, prefix: &str) -> Result<Found, AckError> {
    let unknown = || AckError::Unknown(prefix.chars().take(64).collect());
    if prefix.len() < MIN_PREFIX || !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let prefix_lower = prefix.to_ascii_lowercase();
    let mut alerts = alert::with_prefix(&mut *db, &prefix_lower).await?;
    let mut groups = alert_group::with_prefix(&mut *db, &prefix_lower).await?;
    match (alerts.len(), groups.len()) {
        (1, 0) => alerts.pop().map(|alert| Found::Alert(Box::new(alert))).ok_or_else(unknown),
        (0, 1) => groups.pop().map(|group| Found::Group(Box::new(group))).ok_or_else(unknown),
        (0, 0) => Err(unknown()),
        _ => Err(AckError::Ambiguous(prefix.to_owned())),
    }
}

/// Acknowledges the firing alert or open group that `prefix` names: no repeats and no escalation until it resolves.
///
/// # Errors
///
/// [`AckError`]; nothing is stored then.
pub async fn acknowledge(
    pool: &PgPool,
    prefix: &str,
    by: &str,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(Found, Ack), AckError> {
    let mut transaction = pool.begin().await?;
    // A look that is under way ends before, and the next one sees the acknowledgement.
    alert_group::lock(&mut transaction).await?;
    let found = find(&mut transaction, prefix).await?;
    let (target, fingerprints, groups) = match &found {
        Found::Alert(alert) => {
            let AlertState::Firing { since, .. } = alert.state else {
                let (rule, subject) = (alert.rule.clone(), alert.subject.clone());
                return Err(AckError::NotFiring { rule, subject });
            };
            let fingerprint = alert.fingerprint.clone();
            let groups = alert_group::list(&mut *transaction, None).await?;
            let of_alert = groups.into_iter().filter(|group| group.members.contains_key(&fingerprint));
            let keys: Vec<String> = of_alert.map(|group| group.key).collect();
            (AckTarget::Alert { fingerprint: fingerprint.clone(), since }, vec![fingerprint], keys)
        }
        Found::Group(group) => {
            let fingerprints = group.members.keys().cloned().collect();
            (AckTarget::Group { key: group.key.clone() }, fingerprints, vec![group.key.clone()])
        }
    };
    let ack = Ack { id: Uuid::now_v7(), target, by: by.to_owned(), reason: reason.to_owned(), at: now };
    let ack = ack.checked()?;
    let (fingerprint, since, key) = match &ack.target {
        AckTarget::Alert { fingerprint, since } => (Some(fingerprint), Some(*since), None),
        AckTarget::Group { key } => (None, None, Some(key)),
    };
    sqlx::query(
        "insert into alert_ack (id, fingerprint, firing_since, group_key, author, reason, at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(ack.id)
    .bind(fingerprint)
    .bind(since)
    .bind(key)
    .bind(&ack.by)
    .bind(&ack.reason)
    .bind(ack.at)
    .execute(&mut *transaction)
    .await?;
    let happening = Happening::Acknowledged { who: ack.by.clone(), reason: ack.reason.clone() };
    let group = groups.into_iter().next().unwrap_or_default();
    let event = GroupEvent { id: ack.id, group, fingerprints, at: now, happening };
    alert_event::insert(&mut transaction, &[event]).await?;
    alert_group::hurry(&mut *transaction, now).await?;
    transaction.commit().await?;
    Ok((found, ack))
}

/// Acknowledgements of any of these alerts and groups, whichever firing or episode they are of.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn of(
    db: &mut PgConnection,
    fingerprints: &[String],
    keys: &[String],
) -> Result<Vec<Ack>, StoreError> {
    let rows = sqlx::query(
        "select * from alert_ack where fingerprint = any($1) or group_key = any($2) order by at, id",
    )
    .bind(fingerprints)
    .bind(keys)
    .fetch_all(db)
    .await?;
    let ack = |row: &sqlx::postgres::PgRow| {
        let of_alert = row
            .get::<Option<String>, _>("fingerprint")
            .zip(row.get::<Option<DateTime<Utc>>, _>("firing_since"))
            .map(|(fingerprint, since)| AckTarget::Alert { fingerprint, since });
        let of_group = row.get::<Option<String>, _>("group_key").map(|key| AckTarget::Group { key });
        Some(Ack {
            id: row.get("id"),
            target: of_alert.or(of_group)?,
            by: row.get("author"),
            reason: row.get("reason"),
            at: row.get("at"),
        })
    };
    Ok(rows.iter().filter_map(ack).collect())
}
