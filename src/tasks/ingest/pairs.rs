//! Sides of exchanges find one another: in the batch, else in the table of those that wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::PgConnection;

use super::half::Half;
use crate::config::Sink;
use crate::decode::Side;
use crate::store::StoreError;
use crate::store::pending_side::{self, PairKey, PendingSide, PendingSize, Waited};

/// Times that a side is let in or taken out before it is given up: each means that another replica was faster.
const ROUNDS: usize = 5;

/// What became of the sides of a batch whose other side is not in the batch.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Those whose other side waited, with it.
    pub paired: Vec<(Arc<Half>, Waited)>,
    /// How many wait now.
    pub waiting: PendingSize,
    /// How many were taken out.
    pub taken: PendingSize,
    /// Those of which the same side waits already.
    pub duplicates: Vec<PairKey>,
    /// Those for which there is no room.
    pub overflow: Vec<(PairKey, Arc<Half>)>,
}

/// Joins `sides` with those that wait, and lets the others wait as far as there is room beside `pending`.
pub(super) async fn settle(
    db: &mut PgConnection,
    mut sides: BTreeMap<PairKey, Arc<Half>>,
    pending: PendingSize,
    sink: &Sink,
) -> Result<Settled, StoreError> {
    let mut settled = Settled::default();
    for round in 0..ROUNDS {
        if sides.is_empty() {
            break;
        }
        let wanted: Vec<(&PairKey, Side)> = sides.iter().map(|(key, half)| (key, half.side())).collect();
        for partner in pending_side::take_partners(&mut *db, &wanted).await? {
            settled.taken.sides += 1;
            settled.taken.bytes += partner.side.content.len() as u64;
            if let Some(half) = sides.remove(&partner.side.key) {
                settled.paired.push((half, partner));
            }
        }
        let mut rows = Vec::with_capacity(sides.len());
        let mut full = Vec::new();
        let mut size = pending;
        size.sides += settled.waiting.sides;
        size.bytes += settled.waiting.bytes;
        for (key, half) in &sides {
            let content = half.encode().unwrap_or_default();
            let bytes = size.bytes + content.len() as u64;
            if size.sides >= sink.pending_sides || bytes > sink.pending_bytes.0 as u64 {
                full.push(key.clone());
                continue;
            }
            size.sides += 1;
            size.bytes = bytes;
            rows.push(PendingSide { key: key.clone(), side: half.side(), content });
        }
        for key in full {
            if let Some(half) = sides.remove(&key) {
                settled.overflow.push((key, half));
            }
        }
        let lengths: BTreeMap<&PairKey, usize> =
            rows.iter().map(|row| (&row.key, row.content.len())).collect();
        for key in pending_side::insert(&mut *db, &rows).await? {
            settled.waiting.sides += 1;
            settled.waiting.bytes += lengths.get(&key).copied().unwrap_or(0) as u64;
            sides.remove(&key);
        }
        if sides.is_empty() {
            break;
        }
        let left: Vec<(&PairKey, Side)> = sides.iter().map(|(key, half)| (key, half.side())).collect();
        for key in pending_side::same_sides(&mut *db, &left).await? {
            sides.remove(&key);
            settled.duplicates.push(key);
        }
        if round + 1 == ROUNDS {
            settled.overflow.extend(std::mem::take(&mut sides));
        }
    }
    Ok(settled)
}
