//! Labels whose prediction is not stored: kept, and matched as soon as it is.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value as Json;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json as Jsonb;
use sqlx::{PgConnection, PgPool};

use super::{LabelCounts, Lookup, Outcome, Pending, count, decide, find, interval, settle};
use crate::model::ModelName;
use crate::store::StoreError;
use crate::store::captured::CapturedRow;

/// Labels that are matched in one step.
const BATCH: i64 = 5000;

/// The names of rows under which a label is looked for when rows come.
fn names(lookup: &Lookup) -> BTreeSet<String> {
    let ids =
        lookup.ids.iter().flat_map(|reading| [format!("r:{}", reading.row_id()), format!("a:{}", reading.0)]);
    ids.chain(lookup.keys.iter().map(|key| format!("k:{key}"))).collect()
}

/// Keeps labels whose prediction was not found; of two with one target the rule of rows decides.
pub(super) async fn keep(
    db: &mut PgConnection,
    model: &ModelName,
    labels: Vec<Pending>,
) -> Result<LabelCounts, StoreError> {
    let mut counts = LabelCounts::default();
    if labels.is_empty() {
        return Ok(counts);
    }
    let mut targets: Vec<&str> = labels.iter().map(|label| label.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    let held: Vec<(String, Jsonb<Json>, DateTime<Utc>)> = sqlx::query_as(
        "select target, value, labelled_at from label_waiting
         where model = $1 and target = any($2) order by target for update",
    )
    .bind(model.as_str())
    .bind(&targets)
    .fetch_all(&mut *db)
    .await?;
    let mut held: BTreeMap<String, (Json, DateTime<Utc>)> =
        held.into_iter().map(|(target, value, at)| (target, (value.0, at))).collect();
    let mut written: BTreeMap<String, Pending> = BTreeMap::new();
    for label in labels {
        let before = held.get(&label.target).map(|(value, at)| (value, *at));
        let outcome = match decide(before, (&label.value, label.labelled_at)) {
            Outcome::New => Outcome::Waiting,
            outcome => outcome,
        };
        counts.add(outcome, 1);
        if outcome == Outcome::Stale {
            continue;
        }
        let known = before.map_or(label.labelled_at, |(_, at)| at.max(label.labelled_at));
        held.insert(label.target.clone(), (label.value.clone(), known));
        written.insert(label.target.clone(), Pending { labelled_at: known, ..label });
    }
    write(db, model, written).await?;
    Ok(counts)
}

async fn write(
    db: &mut PgConnection,
    model: &ModelName,
    labels: BTreeMap<String, Pending>,
) -> Result<(), StoreError> {
    let ids: Vec<(String, i64)> = sqlx::query_as(
        "insert into label_waiting (model, target, lookup, value, labelled_at, max_delay)
         select $1, * from unnest($2::text[], $3::jsonb[], $4::jsonb[], $5::timestamptz[], $6::interval[])
         on conflict (model, target) do update
             set lookup = excluded.lookup, value = excluded.value, labelled_at = excluded.labelled_at,
                 max_delay = excluded.max_delay
             where excluded.labelled_at >= label_waiting.labelled_at
         returning target, id",
    )
    .bind(model.as_str())
    .bind(labels.keys().cloned().collect::<Vec<_>>())
    .bind(labels.values().map(|label| Jsonb(label.lookup.clone())).collect::<Vec<_>>())
    .bind(labels.values().map(|label| Jsonb(label.value.clone())).collect::<Vec<_>>())
    .bind(labels.values().map(|label| label.labelled_at).collect::<Vec<_>>())
    .bind(labels.values().map(|label| interval(label.max_delay)).collect::<Vec<_>>())
    .fetch_all(&mut *db)
    .await
    .map_err(|error| StoreError::for_model(model, error))?;
    let (mut found, mut of) = (Vec::new(), Vec::new());
    for (target, id) in ids {
        for name in labels.get(&target).map(|label| names(&label.lookup)).unwrap_or_default() {
            found.push(name);
            of.push(id);
        }
    }
    sqlx::query(
        "insert into label_waiting_name (model, name, waiting)
         select $1, * from unnest($2::text[], $3::bigint[]) on conflict do nothing",
    )
    .bind(model.as_str())
    .bind(found)
    .bind(of)
    .execute(db)
    .await?;
    Ok(())
}

/// Gives rows that were just written the labels that wait for them.
pub(in crate::store) async fn match_rows(
    db: &mut PgConnection,
    model: &ModelName,
    rows: &[CapturedRow],
) -> Result<LabelCounts, StoreError> {
    let (any,): (bool,) = sqlx::query_as("select exists (select from label_waiting where model = $1)")
        .bind(model.as_str())
        .fetch_one(&mut *db)
        .await?;
    if !any {
        return Ok(LabelCounts::default());
    }
    let mut names = BTreeSet::new();
    for row in rows {
        names.insert(format!("r:{}", row.row_id));
        names.extend(row.business_key.iter().map(|key| format!("k:{key}")));
        let ids = row.ids.iter().flat_map(|ids| ids.others.iter().chain([&ids.exchange]));
        names.extend(ids.map(|id| format!("a:{id}")));
    }
    let waiting: Vec<WaitingRow> = sqlx::query_as(
        "select id, target, lookup, value, labelled_at, max_delay from label_waiting where id in (
             select waiting from label_waiting_name where model = $1 and name = any($2)
         ) order by id",
    )
    .bind(model.as_str())
    .bind(names.into_iter().collect::<Vec<_>>())
    .fetch_all(&mut *db)
    .await?;
    settle_waiting(db, model, waiting).await
}

type WaitingRow = (i64, String, Jsonb<Lookup>, Jsonb<Json>, DateTime<Utc>, PgInterval);

/// Matches those of `waiting` whose prediction is there, and lets them wait no longer.
async fn settle_waiting(
    db: &mut PgConnection,
    model: &ModelName,
    waiting: Vec<WaitingRow>,
) -> Result<LabelCounts, StoreError> {
    let pending: Vec<Pending> = waiting
        .into_iter()
        .map(|(id, target, lookup, value, labelled_at, max_delay)| Pending {
            waiting: Some(id),
            target,
            lookup: lookup.0,
            value: value.0,
            labelled_at,
            max_delay: TimeDelta::microseconds(max_delay.microseconds)
                + TimeDelta::days(i64::from(max_delay.days) + 30 * i64::from(max_delay.months)),
        })
        .collect();
    let found = find::find(&mut *db, model, &pending).await?;
    let mut matched = Vec::new();
    let mut ids = Vec::new();
    for (pending, found) in pending.into_iter().zip(found) {
        if let Some(found) = found {
            ids.extend(pending.waiting);
            matched.push((pending, found));
        }
    }
    if matched.is_empty() {
        return Ok(LabelCounts::default());
    }
    // Whoever deletes it has it: another process may be matching the same ones. It counts as it is then, since a later
    // label may have taken its place meanwhile.
    let deleted: Vec<(i64, Jsonb<Json>, DateTime<Utc>)> =
        sqlx::query_as("delete from label_waiting where id = any($1) returning id, value, labelled_at")
            .bind(&ids)
            .fetch_all(&mut *db)
            .await?;
    let mut deleted: BTreeMap<i64, (Json, DateTime<Utc>)> =
        deleted.into_iter().map(|(id, value, at)| (id, (value.0, at))).collect();
    matched.retain_mut(|(pending, _)| {
        let now = pending.waiting.and_then(|id| deleted.remove(&id));
        now.is_some_and(|(value, labelled_at)| {
            (pending.value, pending.labelled_at) = (value, labelled_at);
            true
        })
    });
    let counts = settle(&mut *db, model, matched).await?;
    count(db, model, &counts).await?;
    Ok(counts)
}

/// Matches labels that have waited for less than `span`. A label and its row that are written at the same moment do not
/// see each other; afterwards they do.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn match_recent(
    db: &PgPool,
    model: &ModelName,
    span: TimeDelta,
) -> Result<LabelCounts, StoreError> {
    let mut counts = LabelCounts::default();
    let mut after = 0_i64;
    loop {
        let mut transaction = db.begin().await?;
        let waiting: Vec<WaitingRow> = sqlx::query_as(
            "select id, target, lookup, value, labelled_at, max_delay from label_waiting
             where model = $1 and created_at > now() - $2::interval and id > $3 order by id limit $4",
        )
        .bind(model.as_str())
        .bind(interval(span))
        .bind(after)
        .bind(BATCH)
        .fetch_all(&mut *transaction)
        .await?;
        let Some(last) = waiting.last().map(|row| row.0) else { return Ok(counts) };
        after = last;
        counts.merge(&settle_waiting(&mut transaction, model, waiting).await?);
        transaction.commit().await?;
    }
}

/// Drops labels that came before `before` and still wait, and further ids of exchanges; returns how many.
pub(in crate::store) async fn expire(db: &PgPool, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let (labels,): (i64,) = sqlx::query_as(
        "with gone as (
             delete from label_waiting where created_at < $1 returning model
         ), counted as (
             insert into label_count (model, outcome, labels) select model, $2, count(*) from gone group by model
         )
         select count(*) from gone",
    )
    .bind(before)
    .bind(Outcome::Expired.as_str())
    .fetch_one(db)
    .await?;
    let aliases =
        sqlx::query("delete from exchange_alias where created_at < $1").bind(before).execute(db).await?;
    Ok(labels.unsigned_abs() + aliases.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::label::spellings;

    #[test]
    fn a_label_is_looked_for_under_every_reading() {
        let lookup = Lookup { ids: spellings("p:1", None), keys: vec!["c".into()], span: None };
        let expected = ["a:p", "a:p:1", "k:c", "r:p:1", "r:p_1"].map(str::to_owned);
        assert_eq!(names(&lookup).into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(serde_json::to_string(&lookup).unwrap(), r#"{"ids":[["p:1",null],["p",1]],"keys":["c"]}"#);
    }
}
