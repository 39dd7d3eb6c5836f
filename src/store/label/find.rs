//! From a label to the captured row that it belongs to.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Pending, Spelling};
use crate::model::ModelName;
use crate::store::StoreError;

/// The row of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) row_id: String,
    pub(super) event_time: DateTime<Utc>,
}

/// The row of each of `labels`, if there is one: of several readings of an id the likeliest that names a row.
pub(super) async fn find(
    db: &mut PgConnection,
    model: &ModelName,
    labels: &[Pending],
) -> Result<Vec<Option<Found>>, StoreError> {
    let mut found = vec![None; labels.len()];
    let (mut ids, mut keys) = (Ids::default(), Keys::default());
    for (label, index) in labels.iter().zip(0_i32..) {
        for (reading, rank) in label.lookup.ids.iter().zip(0_i32..) {
            ids.push(index, rank, reading);
        }
        if let Some((from, at)) = label.lookup.span {
            for key in &label.lookup.keys {
                keys.push(index, key, from, at);
            }
        }
    }
    let rows = ids.find(&mut *db, model).await?.into_iter().chain(keys.find(db, model).await?);
    for (index, row_id, event_time) in rows {
        if let Some(place) = usize::try_from(index).ok().and_then(|index| found.get_mut(index)) {
            *place = Some(Found { row_id, event_time });
        }
    }
    Ok(found)
}

type FoundRow = (i32, String, DateTime<Utc>);

#[derive(Default)]
struct Ids {
    labels: Vec<i32>,
    ranks: Vec<i32>,
    names: Vec<String>,
    exchanges: Vec<String>,
    rows: Vec<Option<i32>>,
}

impl Ids {
    fn push(&mut self, label: i32, rank: i32, reading: &Spelling) {
        self.labels.push(label);
        self.ranks.push(rank);
        self.names.push(reading.row_id());
        self.exchanges.push(reading.0.clone());
        self.rows.push(reading.1.and_then(|row| i32::try_from(row).ok()));
    }

    async fn find(self, db: &mut PgConnection, model: &ModelName) -> Result<Vec<FoundRow>, StoreError> {
        if self.labels.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as(
            "with reading as (
                 select * from unnest($2::int[], $3::int[], $4::text[], $5::text[], $6::int[])
                     as given (label, rank, row_id, exchange, row)
             ), named as (
                 select label, rank, 0 as way, row_id from reading
                 union all
                 select label, rank, 1, case
                         when a.row_count > 1 then a.exchange || '_' || row
                         when coalesce(row, 0) = 0 then a.exchange
                     end
                 from reading join exchange_alias a on a.model = $1 and a.alias = reading.exchange
                 where a.exchange is not null
             )
             select distinct on (label) label, c.row_id, c.event_time
             from named join captured_row c on c.model = $1 and c.row_id = named.row_id
             order by label, rank, way",
        );
        let rows = rows
            .bind(model.as_str())
            .bind(self.labels)
            .bind(self.ranks)
            .bind(self.names)
            .bind(self.exchanges)
            .bind(self.rows)
            .fetch_all(db)
            .await?;
        Ok(rows)
    }
}

#[derive(Default)]
struct Keys {
    labels: Vec<i32>,
    values: Vec<String>,
    from: Vec<DateTime<Utc>>,
    at: Vec<DateTime<Utc>>,
}

impl Keys {
    fn push(&mut self, label: i32, key: &str, from: DateTime<Utc>, at: DateTime<Utc>) {
        self.labels.push(label);
        self.values.push(key.to_owned());
        self.from.push(from);
        self.at.push(at);
    }

    async fn find(self, db: &mut PgConnection, model: &ModelName) -> Result<Vec<FoundRow>, StoreError> {
        if self.labels.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as(
            "select distinct on (label) label, newest.row_id, newest.event_time
             from unnest($2::int[], $3::text[], $4::timestamptz[], $5::timestamptz[])
                 as given (label, business_key, earliest, latest)
             cross join lateral (
                 select row_id, event_time from captured_row c
                 where c.model = $1 and c.business_key = given.business_key
                     and c.event_time between given.earliest and given.latest
                 order by event_time desc, row_id collate \"C\" desc
                 limit 1
             ) newest
             order by label, newest.event_time desc, newest.row_id collate \"C\" desc",
        )
        .bind(model.as_str())
        .bind(self.labels)
        .bind(self.values)
        .bind(self.from)
        .bind(self.at)
        .fetch_all(db)
        .await?;
        Ok(rows)
    }
}
