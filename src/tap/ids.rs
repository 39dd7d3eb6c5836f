//! New ids in the order of time, without asking the system for a few random bytes each time.

use std::cell::RefCell;

use chrono::{DateTime, Utc};
use rustls::crypto::ring;
use uuid::{Builder, NoContext, Timestamp, Uuid};

/// Random bytes of one id.
const ID_BYTES: usize = 10;
/// Ids for which random bytes are drawn at once.
const STOCK: usize = 64;

/// Random bytes that were drawn and not used yet.
#[derive(Debug)]
struct Stock {
    bytes: [u8; ID_BYTES * STOCK],
    used: usize,
}

thread_local! {
    static RANDOM: RefCell<Stock> =
        const { RefCell::new(Stock { bytes: [0; ID_BYTES * STOCK], used: ID_BYTES * STOCK }) };
}

impl Stock {
    /// Bytes that were never given before; none when the system has no randomness.
    fn next(&mut self) -> Option<[u8; ID_BYTES]> {
        if self.used == self.bytes.len() {
            ring::default_provider().secure_random.fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let given = self.bytes.get(self.used..self.used + ID_BYTES)?.try_into().ok();
        self.used += ID_BYTES;
        given
    }
}

/// A new id (UUID, version 7).
pub(super) fn new_uuid(now: DateTime<Utc>) -> Uuid {
    if let Some(random) = RANDOM.with_borrow_mut(Stock::next) {
        let milliseconds = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        return Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid();
    }
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_id_is_given_twice() {
        let at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let of_thread = move || (0..1_000).map(|_| new_uuid(at)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(of_thread)).collect();
        let ids: HashSet<Uuid> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 4_000);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }
}
