//! A hash of names that never changes: what is stored depends on it.

/// A 64-bit hash of `text`, the same on every machine and in every version.
///
/// Eight bytes at a time, multiplied and folded, with a final mix so that every bit depends on every byte. It is not
/// keyed: whoever chooses the names can make them collide, which costs accuracy of a distinct count and nothing else.
///
/// # Source
///
/// The multiply-and-fold step of wyhash (Wang Yi, 2019); the final mix of `MurmurHash3` (Appleby, 2011).
pub(crate) fn stable_hash(text: &str) -> u64 {
    const FIRST: u64 = 0x9E37_79B9_7F4A_7C15;
    const SECOND: u64 = 0xD1B5_4A32_D192_ED03;
    let fold = |state: u64, lane: u64| {
        let product = u128::from(state ^ lane ^ FIRST) * u128::from(lane.wrapping_add(SECOND) | 1);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        let (low, high) = (product as u64, (product >> 64) as u64);
        low ^ high.rotate_left(23) ^ state
    };
    let bytes = text.as_bytes();
    let mut state = SECOND ^ bytes.len() as u64;
    let mut lanes = bytes.chunks_exact(8);
    for lane in lanes.by_ref() {
        state = mix(fold(state, lane.iter().rev().fold(0, |lane, &byte| lane << 8 | u64::from(byte))));
    }
    let rest = lanes.remainder().iter().rev().fold(0, |lane, &byte| lane << 8 | u64::from(byte));
    mix(fold(state, rest))
}

/// Spreads every bit of `state` over all others.
pub(crate) fn mix(mut state: u64) -> u64 {
    state ^= state >> 33;
    state = state.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    state ^= state >> 33;
    state = state.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    state ^ state >> 33
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn stays_what_it_is() {
        // Stored sketches depend on these numbers; a change of them is a change of format.
        let hashes = ["", "a", "abcdefgh", "abcdefghi"].map(stable_hash);
        let expected = [
            16_432_066_890_553_325_295,
            7_470_588_575_433_018_242,
            1_727_440_640_476_170_511,
            5_394_573_392_865_224_842,
        ];
        assert_eq!(hashes, expected);
    }

    #[test]
    fn spreads_names_evenly() {
        let hashes: HashSet<u64> = (0..100_000).map(|i| stable_hash(&format!("user-{i}"))).collect();
        assert_eq!(hashes.len(), 100_000);
        let mut buckets = [0_u32; 64];
        for hash in hashes {
            buckets[(hash >> 58) as usize] += 1;
        }
        assert!(buckets.iter().all(|&held| (1350..1780).contains(&held)), "{buckets:?}");
    }
}
