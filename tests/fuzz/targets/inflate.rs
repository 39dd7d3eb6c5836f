//! Every coding and some that are stacked; the first byte chooses.

#![no_main]

use driftline::decode::inflate::inflate;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let Some((which, body)) = data.split_first() else { return };
    let codings = [None, Some("gzip"), Some("deflate"), Some("br"), Some("zstd"), Some("gzip, br"), Some("zstd,deflate")];
    if let Ok(inflated) = inflate(body, codings[usize::from(*which) % codings.len()], LIMIT) {
        assert!(inflated.len() <= LIMIT.max(body.len()));
    }
});
