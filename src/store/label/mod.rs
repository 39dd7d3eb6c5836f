//! Labels: true outcomes that find their prediction by any of its ids or by a business key; early, late, twice or never.

mod find;
mod spelling;
mod status;
mod waiting;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json as Jsonb;
use sqlx::{PgConnection, PgExecutor};

use self::find::Found;
pub use self::spelling::{Spelling, spellings};
pub use self::status::{LabelStatus, counts, fold_counts, status};
pub use self::waiting::match_recent;
pub(super) use self::waiting::{expire, match_rows};
use super::StoreError;
use super::captured::business_key;
use crate::decode::events::{LabelEvent, LabelTarget};
use crate::model::{ModelName, Value};
use crate::privacy::Policy;

/// One true outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// What finds its prediction.
    pub target: LabelTarget,
    /// A scalar, or an object that holds the target by name.
    pub value: Json,
    /// When it became known; of two labels of a row the later one counts.
    pub labelled_at: DateTime<Utc>,
}

impl Label {
    /// A label that is found by an id.
    pub fn by_id(id: impl Into<String>, value: Json, labelled_at: DateTime<Utc>) -> Self {
        Self { target: LabelTarget::Id { id: id.into(), row: None }, value, labelled_at }
    }

    /// The label in `event`; without a time of its own it became known at `received_at`.
    pub fn of_event(event: &LabelEvent, received_at: DateTime<Utc>) -> Self {
        Self {
            target: event.target.clone(),
            value: event.value.clone(),
            labelled_at: event.time.unwrap_or(received_at),
        }
    }
}

/// What the settings of a model say of its labels.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How ids and keys were changed before they were kept.
    pub policy: Policy,
    /// The column that is the business key.
    pub key: Option<String>,
    /// How long before a label with a key its prediction can have been.
    pub within: TimeDelta,
    /// After which time a label is late.
    pub max_delay: TimeDelta,
}

impl Rules {
    /// The rules in `settings`, or those of a model without any.
    pub fn new(settings: Option<&crate::config::Labels>, policy: Policy) -> Self {
        let usual = crate::config::Labels::default();
        let labels = settings.unwrap_or(&usual);
        let span = |span: crate::config::Span| TimeDelta::from_std(span.0).unwrap_or(TimeDelta::days(3660));
        Self {
            policy,
            key: labels.key.clone(),
            within: span(labels.within),
            max_delay: span(labels.max_delay),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(None, Policy::default())
    }
}

/// What became of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is the first of its row.
    New,
    /// It is the first of its row, and became known later than the settings expect; it is used all the same.
    Late,
    /// It took the place of one that became known earlier.
    Replaced,
    /// It says what is known already.
    Unchanged,
    /// A label of the row that became known later, or at the same time and came first, says otherwise; it was left out.
    Stale,
    /// No prediction has its id or key yet; it waits for one until retention.
    Waiting,
    /// It waited, and its prediction has come.
    Early,
    /// It waited, and no prediction came: its id is unknown.
    Expired,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::New,
        Self::Late,
        Self::Replaced,
        Self::Unchanged,
        Self::Stale,
        Self::Waiting,
        Self::Early,
        Self::Expired,
    ];

    /// The word used in answers, tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Late => "late",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Stale => "stale",
            Self::Waiting => "waiting",
            Self::Early => "early",
            Self::Expired => "expired",
        }
    }

    /// The rule behind it, in a sentence.
    pub fn rule(self) -> &'static str {
        match self {
            Self::New => "the first label of its row",
            Self::Late => {
                "the first label of its row, known later than `labels.max_delay` after it; used all the same"
            }
            Self::Replaced => "known later than the label that the row had; took its place",
            Self::Unchanged => "says what the row's label says already",
            Self::Stale => "known no later than the label that the row has; left out",
            Self::Waiting => {
                "no stored prediction has its id or key; kept until one comes or `retention.captured` has passed"
            }
            Self::Early => "waited for its prediction, which has come",
            Self::Expired => "waited for a prediction that never came",
        }
    }
}

/// What became of a batch of labels; its size is the sum of all but `early` and `expired`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LabelCounts {
    /// [`Outcome::New`].
    pub new: u64,
    /// [`Outcome::Late`].
    pub late: u64,
    /// [`Outcome::Replaced`].
    pub replaced: u64,
    /// [`Outcome::Unchanged`].
    pub unchanged: u64,
    /// [`Outcome::Stale`].
    pub stale: u64,
    /// [`Outcome::Waiting`].
    pub waiting: u64,
    /// [`Outcome::Early`].
    #[serde(skip_serializing_if = "is_zero")]
    pub early: u64,
    /// [`Outcome::Expired`].
    #[serde(skip_serializing_if = "is_zero")]
    pub expired: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl LabelCounts {
    /// Labels of one outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::New => self.new,
            Outcome::Late => self.late,
            Outcome::Replaced => self.replaced,
            Outcome::Unchanged => self.unchanged,
            Outcome::Stale => self.stale,
            Outcome::Waiting => self.waiting,
            Outcome::Early => self.early,
            Outcome::Expired => self.expired,
        }
    }

    /// Counts `labels` more of one outcome.
    pub fn add(&mut self, outcome: Outcome, labels: u64) {
        let count = match outcome {
            Outcome::New => &mut self.new,
            Outcome::Late => &mut self.late,
            Outcome::Replaced => &mut self.replaced,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Stale => &mut self.stale,
            Outcome::Waiting => &mut self.waiting,
            Outcome::Early => &mut self.early,
            Outcome::Expired => &mut self.expired,
        };
        *count += labels;
    }

    /// The sum of both.
    pub fn merge(&mut self, other: &Self) {
        for outcome in Outcome::ALL {
            self.add(outcome, other.of(outcome));
        }
    }
}

/// What finds the prediction of a label, with everything that was done to ids and keys.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Lookup {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ids: Vec<Spelling>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    span: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// A label that is on its way to its prediction.
#[derive(Debug, Clone)]
struct Pending {
    /// Its place in the table of those that wait, if it does.
    waiting: Option<i64>,
    /// Names it among those that wait.
    target: String,
    lookup: Lookup,
    value: Json,
    labelled_at: DateTime<Utc>,
    max_delay: TimeDelta,
}

impl Pending {
    fn new(label: &Label, rules: &Rules) -> Self {
        let (target, lookup) = match &label.target {
            LabelTarget::Id { id, row } => {
                let mut ids = Vec::new();
                for id in rules.ids(id) {
                    ids.extend(
                        spellings(&id, *row)
                            .into_iter()
                            .filter(|reading| !ids.contains(reading))
                            .collect::<Vec<_>>(),
                    );
                }
                let row = row.map(|row| row.to_string()).unwrap_or_default();
                // What names the label may not hold what was hashed.
                let named = ids.first().map_or(id.as_str(), |reading: &Spelling| reading.0.as_str());
                (format!("i:{row}:{named}"), Lookup { ids, ..Lookup::default() })
            }
            LabelTarget::Key { key, at } => {
                let keys = rules.keys(key);
                let named = keys.first().map_or("", String::as_str);
                let from = at.checked_sub_signed(rules.within).unwrap_or(*at);
                let target = format!("k:{}:{named}", at.timestamp_micros());
                (target, Lookup { ids: Vec::new(), keys, span: Some((from, *at)) })
            }
        };
        let mut value = without_nul(label.value.clone());
        rules.policy.apply_to_label(&mut value);
        Self {
            waiting: None,
            target,
            lookup,
            value,
            labelled_at: label.labelled_at,
            max_delay: rules.max_delay,
        }
    }
}

impl Rules {
    /// The ids under which a prediction may have been kept.
    fn ids(&self, id: &str) -> Vec<String> {
        self.policy.ids_for_lookup(&id.replace('\0', "\u{fffd}"))
    }

    /// The values that the business key may have been kept as.
    fn keys(&self, key: &str) -> Vec<String> {
        let given = Value::Text(key.to_owned());
        let kept = match &self.key {
            Some(column) => self.policy.values_for_lookup(column, &given),
            None => vec![given],
        };
        kept.iter().filter_map(business_key).collect()
    }
}

/// JSON of the database has no NUL in its texts.
fn without_nul(value: Json) -> Json {
    match value {
        Json::String(text) => Json::String(text.replace('\0', "\u{fffd}")),
        Json::Object(members) => {
            let member = |(name, value): (String, Json)| (name.replace('\0', "\u{fffd}"), without_nul(value));
            Json::Object(members.into_iter().map(member).collect())
        }
        other => other,
    }
}

/// Writes `labels` within the caller's transaction; a retry is harmless.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] if `model` is not registered; [`StoreError::Database`] otherwise.
pub async fn upsert(
    db: &mut PgConnection,
    model: &ModelName,
    labels: &[Label],
    rules: &Rules,
) -> Result<LabelCounts, StoreError> {
    let pending: Vec<Pending> = labels.iter().map(|label| Pending::new(label, rules)).collect();
    let found = find::find(&mut *db, model, &pending).await?;
    let (mut matched, mut unmatched) = (Vec::new(), Vec::new());
    for (pending, found) in pending.into_iter().zip(found) {
        match found {
            Some(found) => matched.push((pending, found)),
            None => unmatched.push(pending),
        }
    }
    let mut counts = settle(&mut *db, model, matched).await?;
    counts.merge(&waiting::keep(&mut *db, model, unmatched).await?);
    count(db, model, &counts).await?;
    Ok(counts)
}

/// Writes the labels in `events`, which came at `received_at`, within the caller's transaction; a retry is harmless.
///
/// # Errors
///
/// As for [`upsert`].
pub async fn upsert_events(
    db: &mut PgConnection,
    model: &ModelName,
    events: &[LabelEvent],
    received_at: DateTime<Utc>,
    rules: &Rules,
) -> Result<LabelCounts, StoreError> {
    let labels: Vec<Label> = events.iter().map(|event| Label::of_event(event, received_at)).collect();
    upsert(db, model, &labels, rules).await
}

/// The rule for two labels of one row: what becomes of `given` beside `held`, each a value and when it became known.
fn decide(held: Option<(&Json, DateTime<Utc>)>, given: (&Json, DateTime<Utc>)) -> Outcome {
    match held {
        None => Outcome::New,
        Some((value, _)) if same(value, given.0) => Outcome::Unchanged,
        Some((_, at)) if given.1 > at => Outcome::Replaced,
        Some(_) => Outcome::Stale,
    }
}

/// Whether two labels say the same: 1 is 1.0, however it was written.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// The label of a row, as it is and as it becomes.
#[derive(Debug, Clone)]
struct Row {
    value: Json,
    labelled_at: DateTime<Utc>,
    predicted_at: DateTime<Utc>,
    late: bool,
    changed: bool,
}

/// Row, value, when it was known, when it was predicted, and whether it was late.
type Held = (String, Jsonb<Json>, DateTime<Utc>, DateTime<Utc>, bool);

/// Gives every row the label that counts.
async fn settle(
    db: &mut PgConnection,
    model: &ModelName,
    matched: Vec<(Pending, Found)>,
) -> Result<LabelCounts, StoreError> {
    let mut counts = LabelCounts::default();
    if matched.is_empty() {
        return Ok(counts);
    }
    let mut ids: Vec<String> = matched.iter().map(|(_, found)| found.row_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    // In the order of the key, so that two of these do not wait for one another.
    let held: Vec<Held> = sqlx::query_as(
        "select row_id, value, labelled_at, predicted_at, late from label
         where model = $1 and row_id = any($2) order by row_id for update",
    )
    .bind(model.as_str())
    .bind(&ids)
    .fetch_all(&mut *db)
    .await?;
    let mut rows: BTreeMap<String, Row> = held
        .into_iter()
        .map(|(id, value, labelled_at, predicted_at, late)| {
            (id, Row { value: value.0, labelled_at, predicted_at, late, changed: false })
        })
        .collect();
    for (label, found) in matched {
        let late = label.labelled_at.signed_duration_since(found.event_time) > label.max_delay;
        let held = rows.get(&found.row_id).map(|row| (&row.value, row.labelled_at));
        let outcome = match decide(held, (&label.value, label.labelled_at)) {
            Outcome::New if label.waiting.is_some() => Outcome::Early,
            Outcome::New if late => Outcome::Late,
            outcome => outcome,
        };
        counts.add(outcome, 1);
        match (outcome, rows.get_mut(&found.row_id)) {
            (Outcome::Stale, _) => {}
            // Later than what is held: whoever comes next has to be later still.
            (Outcome::Unchanged, Some(row)) => {
                row.changed |= label.labelled_at > row.labelled_at;
                row.labelled_at = row.labelled_at.max(label.labelled_at);
            }
            _ => {
                let Pending { value, labelled_at, .. } = label;
                let row = Row { value, labelled_at, predicted_at: found.event_time, late, changed: true };
                rows.insert(found.row_id, row);
            }
        }
    }
    rows.retain(|_, row| row.changed);
    sqlx::query(
        "insert into label (model, row_id, value, labelled_at, predicted_at, late)
         select $1, * from unnest($2::text[], $3::jsonb[], $4::timestamptz[], $5::timestamptz[], $6::bool[])
         on conflict (model, row_id) do update
             set value = excluded.value, labelled_at = excluded.labelled_at,
                 predicted_at = excluded.predicted_at, late = excluded.late, changed_at = now()
             where excluded.labelled_at > label.labelled_at",
    )
    .bind(model.as_str())
    .bind(rows.keys().cloned().collect::<Vec<_>>())
    .bind(rows.values().map(|row| Jsonb(row.value.clone())).collect::<Vec<_>>())
    .bind(rows.values().map(|row| row.labelled_at).collect::<Vec<_>>())
    .bind(rows.values().map(|row| row.predicted_at).collect::<Vec<_>>())
    .bind(rows.values().map(|row| row.late).collect::<Vec<_>>())
    .execute(db)
    .await
    .map_err(|error| StoreError::for_model(model, error))?;
    Ok(counts)
}

/// Writes down what became of labels; pieces are added up later, so that no two transactions wait for one another here.
async fn count(db: &mut PgConnection, model: &ModelName, counts: &LabelCounts) -> Result<(), StoreError> {
    let counted: Vec<Outcome> = Outcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0).collect();
    if counted.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into label_count (model, outcome, labels) select $1, * from unnest($2::text[], $3::bigint[])",
    )
    .bind(model.as_str())
    .bind(counted.iter().map(|outcome| outcome.as_str()).collect::<Vec<_>>())
    .bind(counted.iter().map(|o| i64::try_from(counts.of(*o)).unwrap_or(i64::MAX)).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

fn interval(span: TimeDelta) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: span.num_microseconds().unwrap_or(i64::MAX) }
}

/// Labels of `model` that were written after `since`; all of them without it. Those that wait are not counted.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn count_since(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    since: Option<DateTime<Utc>>,
) -> Result<u64, StoreError> {
    let (count,): (i64,) = sqlx::query_as(
        "select count(*) from label where model = $1 and ($2::timestamptz is null or created_at > $2)",
    )
    .bind(model.as_str())
    .bind(since)
    .fetch_one(db)
    .await?;
    Ok(count.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn of_two_labels_the_later_one_counts() {
        let (a, b) = (json!(1), json!(2));
        for (held, given, expected) in [
            (None, (&a, at(1)), Outcome::New),
            (Some((&a, at(5))), (&a, at(9)), Outcome::Unchanged),
            (Some((&a, at(5))), (&a, at(1)), Outcome::Unchanged),
            (Some((&a, at(5))), (&json!(1.0), at(6)), Outcome::Unchanged),
            (Some((&a, at(5))), (&b, at(6)), Outcome::Replaced),
            (Some((&a, at(5))), (&b, at(5)), Outcome::Stale),
            (Some((&a, at(5))), (&b, at(4)), Outcome::Stale),
        ] {
            assert_eq!(decide(held, given), expected, "{held:?} {given:?}");
        }
    }

    #[test]
    fn targets_name_a_label_once() {
        let rules = Rules::default();
        let target = |target: LabelTarget| {
            Pending::new(&Label { target, value: json!(1), labelled_at: at(0) }, &rules).target
        };
        let id = |id: &str, row| LabelTarget::Id { id: id.into(), row };
        let key = |key: &str, seconds| LabelTarget::Key { key: key.into(), at: at(seconds) };
        let all = [id("a", None), id("a", Some(0)), id("0:a", None), key("a", 1), key("a", 2), key("b", 1)];
        let mut targets: Vec<String> = all.iter().cloned().map(target).collect();
        targets.sort();
        targets.dedup();
        assert_eq!(targets.len(), all.len());
    }

    proptest! {
        /// The order in which labels of one row come does not decide which counts, unless they became known together.
        #[test]
        fn the_order_of_coming_decides_nothing(values in proptest::collection::vec(0..3_u8, 1..6), shift in 0..6_usize) {
            let labels: Vec<(Json, DateTime<Utc>)> =
                values.iter().zip(0..).map(|(value, seconds)| (json!(value), at(seconds))).collect();
            let last = labels.last().unwrap().0.clone();
            let mut turned = labels;
            let by = shift % turned.len();
            turned.rotate_left(by);
            let mut held: Option<(Json, DateTime<Utc>)> = None;
            for given in turned {
                let before = held.as_ref().map(|(value, at)| (value, *at));
                held = match decide(before, (&given.0, given.1)) {
                    Outcome::New | Outcome::Replaced => Some(given),
                    Outcome::Unchanged => held.map(|(value, at)| (value, at.max(given.1))),
                    _ => held,
                };
            }
            prop_assert_eq!(held.unwrap().0, last);
        }
    }
}
