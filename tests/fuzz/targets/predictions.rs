//! The body of `POST /v1/predictions`; the first byte chooses the content type.

#![no_main]

use driftline::decode::predictions::{MAX_ITEMS, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, body)) = data.split_first() else { return };
    let kinds = [None, Some("application/json"), Some("application/x-ndjson")];
    if let Ok(submission) = parse(body, kinds[usize::from(*which) % kinds.len()]) {
        assert!(submission.accepted.len() + submission.refused.len() <= MAX_ITEMS);
        for item in &submission.accepted {
            for column in item.batch.features.iter().chain(&item.batch.outputs) {
                assert_eq!(column.values.len(), item.batch.rows);
            }
        }
    }
});
