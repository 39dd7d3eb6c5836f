//! The stored form of traffic counts: a version tag, numbers of variable length, a checksum.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::histogram::{CELLS, Histogram};
use super::{Ending, MAX_GRPC_STATUS, MAX_STATUS, TrafficCounts};

const TAG: &[u8; 4] = b"DLT1";
const CHECKSUM_BYTES: usize = 4;

/// Bytes that are no traffic counts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Another format, or a version this build does not know.
    #[error("not traffic counts, or of a version this build does not know")]
    UnknownFormat,
    /// The checksum does not fit.
    #[error("the traffic counts are damaged: their checksum does not fit")]
    Checksum,
    /// The numbers contradict one another.
    #[error("the traffic counts contradict themselves")]
    Content,
}

/// The stored form of `counts`: equal counts give equal bytes. A minute of usual traffic takes a few hundred.
pub fn encode(counts: &TrafficCounts) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(TAG);
    for histogram in histograms(counts) {
        let cells = histogram.cells();
        put(&mut out, cells.len() as u64);
        let mut before = 0;
        for &(cell, count) in cells {
            put(&mut out, u64::from(cell - before));
            put(&mut out, count);
            before = cell;
        }
    }
    for count in counts.endings {
        put(&mut out, count);
    }
    for statuses in [&counts.statuses, &counts.grpc_statuses] {
        put(&mut out, statuses.len() as u64);
        for (&status, &count) in statuses {
            put(&mut out, u64::from(status));
            put(&mut out, count);
        }
    }
    for sum in [counts.request_bytes_sum, counts.response_bytes_sum, counts.in_flight_sum] {
        put(&mut out, sum);
    }
    put(&mut out, u64::from(counts.in_flight_max));
    let digest = Sha256::digest(&out);
    out.extend_from_slice(&digest[..CHECKSUM_BYTES]);
    out
}

/// Reads back what [`encode`] wrote.
///
/// # Errors
///
/// [`DecodeError`]; arbitrary bytes never panic, and allocate no more than the counts can take.
pub fn decode(bytes: &[u8]) -> Result<TrafficCounts, DecodeError> {
    let length = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(DecodeError::UnknownFormat)?;
    let (body, checksum) = bytes.split_at(length);
    let numbers = body.strip_prefix(TAG).ok_or(DecodeError::UnknownFormat)?;
    if Sha256::digest(body)[..CHECKSUM_BYTES] != *checksum {
        return Err(DecodeError::Checksum);
    }
    let mut rest = numbers;
    read(&mut rest).filter(|counts| rest.is_empty() && is_consistent(counts)).ok_or(DecodeError::Content)
}

/// Reads stored parts and merges them; the order makes no difference.
///
/// # Errors
///
/// [`DecodeError`] when one of them cannot be read.
pub fn merge_stored<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Result<TrafficCounts, DecodeError> {
    let mut sum = TrafficCounts::default();
    for part in parts {
        sum.merge(&decode(part)?);
    }
    Ok(sum)
}

fn histograms(counts: &TrafficCounts) -> [&Histogram; 5] {
    [
        &counts.upstream_seconds,
        &counts.answer_seconds,
        &counts.overhead_seconds,
        &counts.request_bytes,
        &counts.response_bytes,
    ]
}

/// Every exchange is in each histogram once, in one ending and under one status.
fn is_consistent(counts: &TrafficCounts) -> bool {
    let requests = counts.requests();
    let sum = |statuses: &BTreeMap<u16, u64>| statuses.values().fold(0, |sum: u64, &n| sum.saturating_add(n));
    histograms(counts).into_iter().all(|histogram| histogram.count() == requests)
        && sum(&counts.statuses) == requests
        && sum(&counts.grpc_statuses) <= requests
}

fn read(rest: &mut &[u8]) -> Option<TrafficCounts> {
    let [upstream_seconds, answer_seconds, overhead_seconds, request_bytes, response_bytes] =
        [histogram(rest)?, histogram(rest)?, histogram(rest)?, histogram(rest)?, histogram(rest)?];
    let mut endings = [0; Ending::COUNT];
    for count in &mut endings {
        *count = take(rest)?;
    }
    Some(TrafficCounts {
        upstream_seconds,
        answer_seconds,
        overhead_seconds,
        request_bytes,
        response_bytes,
        endings,
        statuses: statuses(rest, MAX_STATUS)?,
        grpc_statuses: statuses(rest, MAX_GRPC_STATUS)?,
        request_bytes_sum: take(rest)?,
        response_bytes_sum: take(rest)?,
        in_flight_sum: take(rest)?,
        in_flight_max: u32::try_from(take(rest)?).ok()?,
    })
}

fn histogram(rest: &mut &[u8]) -> Option<Histogram> {
    let length = usize::try_from(take(rest)?).ok().filter(|length| *length <= usize::from(CELLS))?;
    let mut cells = Vec::with_capacity(length);
    let mut cell = 0_u16;
    for _ in 0..length {
        cell = cell.checked_add(u16::try_from(take(rest)?).ok()?)?;
        cells.push((cell, take(rest)?));
    }
    Histogram::from_cells(cells)
}

fn statuses(rest: &mut &[u8], most: u16) -> Option<BTreeMap<u16, u64>> {
    let mut found = BTreeMap::new();
    let length = take(rest).filter(|length| *length <= u64::from(most) + 1)?;
    for _ in 0..length {
        let status = u16::try_from(take(rest)?).ok().filter(|status| *status <= most)?;
        let ascending = found.last_key_value().is_none_or(|(&last, _)| last < status);
        let count = take(rest).filter(|count| *count > 0 && ascending)?;
        found.insert(status, count);
    }
    Some(found)
}

/// Seven bits to a byte, the lowest first; all bytes but the last have the highest bit set.
fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f).to_le_bytes()[0];
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// The next number, in its shortest form.
fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return (byte != 0 || shift == 0).then_some(number);
        }
    }
    None
}
