//! An adaptive arithmetic coder for counts: near the information they carry, without a table to send along.

/// Bits of a probability.
const PRECISION: u32 = 16;

/// Observations after which older ones fade.
const MEMORY: u16 = 1 << 10;

/// What has been seen of one yes-or-no question.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bit {
    seen: [u16; 2],
}

impl Bit {
    /// Probability of a 0, in units of `2^-16`, never 0 nor 1.
    fn of_zero(self) -> u32 {
        // Krichevsky and Trofimov's half count, doubled to stay in integers.
        let [zeros, ones] = self.seen.map(|count| 2 * u32::from(count) + 1);
        ((zeros << PRECISION) / (zeros + ones)).clamp(32, (1 << PRECISION) - 32)
    }

    fn learn(&mut self, bit: bool) {
        self.seen[usize::from(bit)] += 1;
        if self.seen[0] + self.seen[1] > MEMORY {
            self.seen = self.seen.map(|count| count - count / 2);
        }
    }
}

/// Bytes that end a message.
const FLUSHED: usize = 5;

/// One side of the conversation: writes a bit, or reads it.
pub(super) trait Coder {
    /// Passes `bit` (ignored when reading) under the probability that `zero` stands for, and returns it.
    fn coded(&mut self, zero: u32, bit: bool) -> bool;

    /// A bit of which nothing is known.
    fn raw(&mut self, bit: bool) -> bool {
        self.coded(1 << (PRECISION - 1), bit)
    }

    /// A bit of which `model` has learned.
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool {
        let bit = self.coded(model.of_zero(), bit);
        model.learn(bit);
        bit
    }

    /// The lowest `n` bits of `value`, at most 64.
    fn bits(&mut self, n: u32, value: u64) -> u64 {
        (0..n).rev().fold(0, |read, at| read << 1 | u64::from(self.raw(value >> at & 1 == 1)))
    }
}

/// Writes bits into bytes.
///
/// # Source
///
/// Range coding after Martin (1979), with the carry held back as in LZMA's coder (Pavlov).
#[derive(Debug)]
pub(super) struct Encoder {
    low: u64,
    range: u32,
    held: u8,
    /// Bytes that a carry could still change: the one held, and as many of 255 after it.
    pending: usize,
    out: Vec<u8>,
    start: usize,
}

impl Encoder {
    /// A coder that appends to `out`.
    pub(super) fn new(out: Vec<u8>) -> Self {
        Self { low: 0, range: u32::MAX, held: 0, pending: 1, start: out.len(), out }
    }

    #[expect(clippy::cast_possible_truncation, reason = "bytes of a number of 33 bits")]
    fn shift(&mut self) {
        if self.low < 0xff00_0000 || self.low > u64::from(u32::MAX) {
            let carry = (self.low >> 32) as u8;
            self.out.push(self.held.wrapping_add(carry));
            self.out.extend(std::iter::repeat_n(0xff_u8.wrapping_add(carry), self.pending - 1));
            self.pending = 0;
            self.held = (self.low >> 24) as u8;
        }
        self.pending += 1;
        self.low = (self.low << 8) & u64::from(u32::MAX);
    }

    /// Ends the message; zeros among its last bytes are left out, as reading past the end gives zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // The number with the most zeros at its end that is still in the interval.
        let high = self.low + u64::from(self.range) - 1;
        let value = (0..=32)
            .rev()
            .map(|zeros| high >> zeros << zeros)
            .find(|&value| value >= self.low)
            .unwrap_or(self.low);
        self.low = value;
        for _ in 0..FLUSHED {
            self.shift();
        }
        let message = &self.out[self.start..];
        let length = message.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let length = length.max(message.len().saturating_sub(FLUSHED));
        self.out.truncate(self.start + length);
        // The first byte is always 0: a carry cannot reach it.
        if length > 0 {
            self.out.remove(self.start);
        }
        self.out
    }
}

impl Coder for Encoder {
    fn coded(&mut self, zero: u32, bit: bool) -> bool {
        let bound = (self.range >> PRECISION) * zero;
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        while self.range < 1 << 24 {
            self.shift();
            self.range <<= 8;
        }
        bit
    }
}

/// Reads back what [`Encoder`] wrote; any bytes read as something.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    rest: std::slice::Iter<'a, u8>,
    range: u32,
    code: u32,
    /// Zeros read past the end.
    past: usize,
}

impl<'a> Decoder<'a> {
    /// A reader of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { rest: bytes.iter(), range: u32::MAX, code: 0, past: 0 };
        for _ in 0..4 {
            decoder.next_byte();
        }
        decoder
    }

    fn next_byte(&mut self) {
        let byte = self.rest.next().copied().unwrap_or_else(|| {
            self.past += 1;
            0
        });
        self.code = self.code << 8 | u32::from(byte);
    }

    /// Whether the message was read to its end, and not far beyond it.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.len() == 0 && self.past <= 2 * FLUSHED
    }
}

impl Coder for Decoder<'_> {
    fn coded(&mut self, zero: u32, _: bool) -> bool {
        let bound = (self.range >> PRECISION) * zero;
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        while self.range < 1 << 24 {
            self.next_byte();
            self.range <<= 8;
        }
        bit
    }
}

/// Bits after the leading one that are learned; those below are close to even.
const LEARNED: u32 = 4;

/// What has been seen of one kind of count.
///
/// A count is the number of its bits, one question per bit, then the bits under the leading one. Small counts are told
/// apart completely, large ones by their first bits.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// By whether the two counts before were 0.
    empty: [Bit; 4],
    length: [Bit; 65],
    leading: Vec<[Bit; 1 << LEARNED]>,
    before: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            empty: <[Bit; 4]>::default(),
            length: [Bit::default(); 65],
            leading: vec![<[Bit; 1 << LEARNED]>::default(); 65],
            before: 0,
        }
    }
}

impl Counts {
    /// Passes `count` through `coder` and returns it.
    pub(super) fn pass(&mut self, coder: &mut impl Coder, count: u64) -> u64 {
        let length = u64::BITS - count.leading_zeros();
        let filled = coder.bit(&mut self.empty[self.before], length > 0);
        self.before = (self.before << 1 | usize::from(filled)) & 3;
        if !filled {
            return 0;
        }
        let mut n_bits = 1;
        while n_bits < u64::BITS && coder.bit(&mut self.length[n_bits as usize], length > n_bits) {
            n_bits += 1;
        }
        let mut value = 1_u64;
        let learned = (n_bits - 1).min(LEARNED);
        for at in 1..=learned {
            let bit = count >> (n_bits - 1 - at) & 1 == 1;
            // Over 1, 2..3, 4..7, 8..15: a place of its own for every prefix.
            #[expect(clippy::cast_possible_truncation, reason = "four bits")]
            let place = value as usize & ((1 << LEARNED) - 1);
            let model = &mut self.leading[n_bits as usize][place];
            value = value << 1 | u64::from(coder.bit(model, bit));
        }
        let rest = n_bits - 1 - learned;
        if rest == 0 { value } else { value << rest | coder.bits(rest, count) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(counts: &[u64]) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        let mut model = Counts::default();
        for &count in counts {
            model.pass(&mut encoder, count);
        }
        encoder.finish()
    }

    fn read(bytes: &[u8], n: usize) -> Vec<u64> {
        let mut decoder = Decoder::new(bytes);
        let mut model = Counts::default();
        (0..n).map(|_| model.pass(&mut decoder, 0)).collect()
    }

    #[test]
    fn silence_costs_nearly_nothing() {
        assert!(written(&[0; 2000]).len() <= 6, "{}", written(&[0; 2000]).len());
        assert_eq!(written(&[]).len(), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(counts in prop::collection::vec(prop_oneof![0..4_u64, any::<u64>(), Just(u64::MAX)], 0..300)) {
            prop_assert_eq!(read(&written(&counts), counts.len()), counts);
        }

        #[test]
        fn any_bytes_read_as_something(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(read(&bytes, 200).len(), 200);
        }

        #[test]
        fn single_bits_pass_under_any_probability(bits in prop::collection::vec((any::<bool>(), 1_u32..65_536), 0..400)) {
            let mut encoder = Encoder::new(Vec::new());
            for &(bit, zero) in &bits {
                encoder.coded(zero, bit);
            }
            let bytes = encoder.finish();
            let mut decoder = Decoder::new(&bytes);
            for &(bit, zero) in &bits {
                prop_assert_eq!(decoder.coded(zero, false), bit);
            }
        }
    }
}
