//! The stored form of a profile: a version tag, counts near the information they carry, a checksum.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::entropy::{Coder, Counts, Decoder, Encoder};
use super::unseen::{self, Unseen};
use super::{CheckCounts, ColumnLayout, ColumnProfile, CountedWith, Cut, Distinct, Layout, Profile};
use crate::stats::{ExactSum, FiniteSum, Moments, SumBytes};

mod sample;
mod v1;

const TAG: &[u8; 4] = b"DLP2";
const CHECKSUM_BYTES: usize = 4;

/// Parts under which starting a thread is not worth it.
const MIN_PARTS_A_THREAD: usize = 8;

/// Bytes that are not a profile of this layout.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Another format, or a version this build does not know.
    #[error("not a profile, or of a version this build does not know")]
    UnknownFormat,
    /// The checksum does not fit.
    #[error("the profile is damaged: its checksum does not fit")]
    Checksum,
    /// The counts do not fit the layout.
    #[error("the profile does not fit the baseline's columns")]
    Layout,
}

/// The stored form of `profile`: equal profiles give equal bytes.
///
/// 1,000 rows spread evenly over 1,000 cells carry 235 bytes of information; with moments and counters they take about
/// 300. A column of 1,000 cells takes at most 4 KB for any number of rows up to a billion. A sampled row takes about 7
/// bytes, and what its cells carry.
pub fn encode(profile: &Profile) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + profile.columns.len() * 320);
    out.extend_from_slice(TAG);
    let mut encoder = Encoder::new(out);
    let mut models = Models::default();
    models.sizes.pass(&mut encoder, profile.rows);
    Models::time(&mut encoder, profile.latest);
    Models::counted_with(&mut encoder, profile.counted_with);
    models.sizes.pass(&mut encoder, profile.columns.len() as u64);
    for column in &profile.columns {
        models.sizes.pass(&mut encoder, column.cells.len() as u64);
        let mut cells = Counts::default();
        for &count in &column.cells {
            cells.pass(&mut encoder, count);
        }
        for count in column.counters() {
            models.counters.pass(&mut encoder, count);
        }
        models.write_extras(&mut encoder, column);
    }
    sample::write(&mut encoder, &profile.sample);
    let mut out = encoder.finish();
    let digest = Sha256::digest(&out);
    out.extend_from_slice(&digest[..CHECKSUM_BYTES]);
    out
}

/// Reads back what [`encode`] wrote for a profile on `layout`, in this version or an earlier one.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are not such a profile; arbitrary bytes never panic nor allocate beyond the
/// layout's size.
pub fn decode(layout: &Layout, bytes: &[u8]) -> Result<Profile, DecodeError> {
    let body_length = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(DecodeError::UnknownFormat)?;
    let (body, checksum) = bytes.split_at(body_length);
    let first_version = body.starts_with(v1::TAG);
    if !first_version && !body.starts_with(TAG) {
        return Err(DecodeError::UnknownFormat);
    }
    if Sha256::digest(body)[..CHECKSUM_BYTES] != *checksum {
        return Err(DecodeError::Checksum);
    }
    if first_version {
        return v1::decode(layout, &body[TAG.len()..]);
    }
    let mut decoder = Decoder::new(&body[TAG.len()..]);
    let mut models = Models::default();
    let rows = models.sizes.pass(&mut decoder, 0);
    let latest = Models::time(&mut decoder, None);
    let counted_with = Models::counted_with(&mut decoder, CountedWith::Nothing);
    if models.sizes.pass(&mut decoder, 0) != layout.columns().len() as u64 {
        return Err(DecodeError::Layout);
    }
    let columns = layout
        .columns()
        .iter()
        .map(|column| models.read_column(&mut decoder, column))
        .collect::<Result<_, _>>()?;
    let sample = sample::read(&mut decoder, layout)?;
    let profile = Profile { rows, latest, counted_with, columns, sample };
    if decoder.is_at_end() { Ok(profile) } else { Err(DecodeError::Layout) }
}

/// Reads stored parts and merges them, over as many threads as there are cores: the order makes no difference.
///
/// # Errors
///
/// [`DecodeError`] when one of them is not a profile on `layout`.
pub fn merge_stored(layout: &Layout, parts: &[Vec<u8>]) -> Result<Profile, DecodeError> {
    let merged = |parts: &[Vec<u8>]| {
        let mut sum = Profile::empty(layout);
        for part in parts {
            sum.merge(&decode(layout, part)?).map_err(|_| DecodeError::Layout)?;
        }
        Ok(sum)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let each = parts.len().div_ceil(cores);
    if each < MIN_PARTS_A_THREAD {
        return merged(parts);
    }
    std::thread::scope(|scope| {
        let merged = &merged;
        let sums: Vec<_> = parts.chunks(each).map(|parts| scope.spawn(move || merged(parts))).collect();
        let mut whole = Profile::empty(layout);
        for sum in sums {
            let sum = sum.join().map_err(|_| DecodeError::Layout)??;
            whole.merge(&sum).map_err(|_| DecodeError::Layout)?;
        }
        Ok(whole)
    })
}

/// What is learned over all columns; the cells of a column have a model of their own.
#[derive(Default)]
struct Models {
    sizes: Counts,
    counters: Counts,
    registers: Counts,
}

impl Models {
    fn time(coder: &mut impl Coder, time: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        if !coder.raw(time.is_some()) {
            return None;
        }
        let millis = time.map_or(0, |time| time.timestamp_millis());
        let read = i64::from_le_bytes(coder.bits(64, u64::from_le_bytes(millis.to_le_bytes())).to_le_bytes());
        DateTime::from_timestamp_millis(read)
    }

    fn counted_with(coder: &mut impl Coder, counted_with: CountedWith) -> CountedWith {
        let (tag, version) = counted_with.to_parts();
        let tag = coder.bits(2, tag);
        let known = CountedWith::from_parts(tag, 0).unwrap_or_default();
        match known {
            CountedWith::Version(_) => CountedWith::Version(coder.bits(64, version)),
            other => other,
        }
    }

    /// One bit where no value broke a check.
    fn checks(&mut self, coder: &mut impl Coder, counts: CheckCounts) -> CheckCounts {
        if !coder.raw(counts != CheckCounts::default()) {
            return CheckCounts::default();
        }
        CheckCounts::from_array(counts.to_array().map(|count| self.counters.pass(coder, count)))
    }

    fn sum(&mut self, coder: &mut impl Coder, sum: &SumBytes) -> SumBytes {
        let length = self.sizes.pass(coder, sum.bytes.len() as u64);
        if length == 0 {
            return SumBytes::default();
        }
        let first = self.sizes.pass(coder, sum.first as u64);
        let negative = coder.raw(sum.negative);
        // A length past any sum is refused by whoever reads it; no more than that is read.
        let bytes = (0..usize::try_from(length).unwrap_or(usize::MAX).min(2048))
            .map(|at| {
                #[expect(clippy::cast_possible_truncation, reason = "eight bits")]
                let byte = coder.bits(8, u64::from(sum.bytes.get(at).copied().unwrap_or(0))) as u8;
                byte
            })
            .collect();
        SumBytes { negative, first: usize::try_from(first).unwrap_or(usize::MAX), bytes }
    }

    fn write_extras(&mut self, encoder: &mut Encoder, column: &ColumnProfile) {
        let moments = &column.moments;
        if encoder.raw(moments.count() > 0) {
            encoder.bits(64, moments.min().to_bits());
            encoder.bits(64, moments.max().to_bits());
            let tails = [&column.low_tail, &column.high_tail].map(FiniteSum::exact);
            for sum in [moments.sum(), moments.squares()].into_iter().chain(tails) {
                self.sum(encoder, &SumBytes::from(sum));
            }
        }
        if encoder.raw(!column.distinct.registers().is_empty()) {
            for &rank in column.distinct.registers() {
                self.registers.pass(encoder, u64::from(rank));
            }
        }
        let entries = column.unseen.entries();
        self.sizes.pass(encoder, entries.len() as u64);
        encoder.raw(column.unseen.is_sample());
        for (hash, value, count) in entries {
            encoder.bits(64, hash);
            self.counters.pass(encoder, count);
            self.sizes.pass(encoder, value.len() as u64);
            value.bytes().for_each(|byte| {
                encoder.bits(8, u64::from(byte));
            });
        }
        self.checks(encoder, column.checks);
    }

    fn read_column(
        &mut self,
        decoder: &mut Decoder<'_>,
        layout: &ColumnLayout,
    ) -> Result<ColumnProfile, DecodeError> {
        if self.sizes.pass(decoder, 0) != layout.cut.cells() as u64 {
            return Err(DecodeError::Layout);
        }
        let mut column = ColumnProfile::empty(layout);
        let mut cells = Counts::default();
        for cell in &mut column.cells {
            *cell = cells.pass(decoder, 0);
        }
        let counters = [0; ColumnProfile::COUNTERS].map(|zero| self.counters.pass(decoder, zero));
        column.set_counters(counters);
        if decoder.raw(false) {
            let min = f64::from_bits(decoder.bits(64, 0));
            let max = f64::from_bits(decoder.bits(64, 0));
            let mut sums = [const { None }; 4];
            for sum in &mut sums {
                let stored = self.sum(decoder, &SumBytes::default());
                *sum = Some(ExactSum::try_from(&stored).map_err(|_| DecodeError::Layout)?);
            }
            let [sum, squares, low, high] = sums.map(Option::unwrap_or_default);
            let count = column.finite();
            let ordered = min <= max && min.is_finite() && max.is_finite();
            if !ordered || !matches!(layout.cut, Cut::Grid(_)) {
                return Err(DecodeError::Layout);
            }
            column.moments = Moments::from_parts(count, sum, squares, (min, max));
            column.low_tail = FiniteSum::from_exact(low);
            column.high_tail = FiniteSum::from_exact(high);
        }
        if decoder.raw(false) {
            let registers = (0..Distinct::LENGTH)
                .map(|_| u8::try_from(self.registers.pass(decoder, 0)).unwrap_or(u8::MAX))
                .collect();
            column.distinct = Distinct::from_registers(registers).ok_or(DecodeError::Layout)?;
        }
        column.unseen = self.read_unseen(decoder)?;
        column.checks = self.checks(decoder, CheckCounts::default());
        Ok(column)
    }

    fn read_unseen(&mut self, decoder: &mut Decoder<'_>) -> Result<Unseen, DecodeError> {
        let n_values = self.sizes.pass(decoder, 0);
        let sampled = decoder.raw(false);
        if n_values > unseen::MAX_VALUES as u64 {
            return Err(DecodeError::Layout);
        }
        let mut entries = Vec::new();
        for _ in 0..n_values {
            let hash = decoder.bits(64, 0);
            let count = self.counters.pass(decoder, 0);
            let length = self.sizes.pass(decoder, 0);
            if length > unseen::MAX_BYTES as u64 {
                return Err(DecodeError::Layout);
            }
            #[expect(clippy::cast_possible_truncation, reason = "eight bits")]
            let bytes = (0..length).map(|_| decoder.bits(8, 0) as u8).collect();
            entries.push((hash, String::from_utf8(bytes).map_err(|_| DecodeError::Layout)?, count));
        }
        Ok(Unseen::from_entries(entries, sampled))
    }
}

#[cfg(test)]
mod tests;
