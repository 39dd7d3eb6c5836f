//! An adaptive arithmetic coder for counts: near the information they carry, without a table to send along.

/// Bits of a probability.
const PRECISION: u32 = 16;

/// Observations after which older ones fade.
const MEMORY: u16 = 1 << 10;

/// `2^32 / (2n + 2)` for `n` observations: a division for every bit would be most of the work.
static RECIPROCALS: [u32; MEMORY as usize + 1] = reciprocals();

const fn reciprocals() -> [u32; MEMORY as usize + 1] {
    let mut table = [0; MEMORY as usize + 1];
    let mut seen = 0;
    while seen < table.len() {
        #[expect(clippy::cast_possible_truncation, reason = "at most 2^31")]
        let reciprocal = ((1_u64 << 32) / (2 * seen as u64 + 2)) as u32;
        table[seen] = reciprocal;
        seen += 1;
    }
    table
}

/// What has been seen of one yes-or-no question.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bit {
    zeros: u16,
    seen: u16,
}

impl Bit {
    /// Probability of a 0, in units of `2^-16`, never 0 nor 1.
    #[inline]
    fn of_zero(self) -> u32 {
        // Krichevsky and Trofimov's half count, doubled to stay in integers.
        let share = u64::from(2 * u32::from(self.zeros) + 1) * u64::from(RECIPROCALS[usize::from(self.seen)]);
        // Fewer than `MEMORY` observations keep it 32 away from 0 and 1.
        #[expect(clippy::cast_possible_truncation, reason = "a share of 2^16")]
        let share = (share >> (32 - PRECISION)) as u32;
        share
    }

    #[inline]
    fn learn(&mut self, bit: bool) {
        self.zeros += u16::from(!bit);
        self.seen += 1;
        if self.seen == MEMORY {
            self.zeros /= 2;
            self.seen /= 2;
        }
    }
}

/// Bytes that end a message.
const FLUSHED: usize = 5;

/// One side of the conversation: writes a bit, or reads it.
pub(super) trait Coder {
    /// Passes `bit` (ignored when reading) under the probability that `zero` stands for, and returns it.
    fn coded(&mut self, zero: u32, bit: bool) -> bool;

    /// The lowest `n` bits of `value`, at most 16, of which nothing is known.
    fn even(&mut self, n: u32, value: u32) -> u32;

    /// A bit of which nothing is known.
    fn raw(&mut self, bit: bool) -> bool {
        self.even(1, u32::from(bit)) == 1
    }

    /// A bit of which `model` has learned.
    #[inline]
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool {
        let bit = self.coded(model.of_zero(), bit);
        model.learn(bit);
        bit
    }

    /// The lowest `n` bits of `value`, at most 64.
    #[expect(clippy::cast_possible_truncation, reason = "pieces of 16 bits")]
    fn bits(&mut self, n: u32, value: u64) -> u64 {
        let mut read = 0;
        let mut left = n;
        while left > 0 {
            let piece = left.min(16);
            left -= piece;
            let part = (value >> left) as u32 & ((1 << piece) - 1);
            read = read << piece | u64::from(self.even(piece, part));
        }
        read
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

    fn normalise(&mut self) {
        while self.range < 1 << 24 {
            self.shift();
            self.range <<= 8;
        }
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
        self.normalise();
        bit
    }

    fn even(&mut self, n: u32, value: u32) -> u32 {
        self.range >>= n;
        self.low += u64::from(self.range) * u64::from(value);
        self.normalise();
        value
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

    #[inline]
    fn normalise(&mut self) {
        while self.range < 1 << 24 {
            self.next_byte();
            self.range <<= 8;
        }
    }

    /// Whether the message was read to its end, and not far beyond it.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.len() == 0 && self.past <= 2 * FLUSHED
    }
}

impl Coder for Decoder<'_> {
    #[inline]
    fn coded(&mut self, zero: u32, _: bool) -> bool {
        let bound = (self.range >> PRECISION) * zero;
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        self.normalise();
        bit
    }

    fn even(&mut self, n: u32, _: u32) -> u32 {
        self.range >>= n;
        // Bytes that no encoder wrote can lie past the last value.
        let value = (self.code / self.range).min((1 << n) - 1);
        self.code = self.code.wrapping_sub(value * self.range);
        self.normalise();
        value
    }
}

/// Bits after the leading one that are learned; those below are close to even.
const LEARNED: u32 = 4;

/// Lengths with a place of their own in the first tree; longer counts continue in the second.
const SHORT: u32 = 7;

/// What has been seen of one kind of count.
///
/// A count is whether it is 0, the number of its bits, and the bits under the leading one. Small counts are told apart
/// completely, large ones by their first bits.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// By whether the two counts before were 0.
    empty: [Bit; 4],
    /// Lengths 1 to 7, or more, as a tree of three questions.
    short: [Bit; 8],
    /// Lengths from 8, as a tree of six.
    long: [Bit; 64],
    leading: [[Bit; 1 << LEARNED]; 65],
    before: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            empty: <[Bit; 4]>::default(),
            short: <[Bit; 8]>::default(),
            long: [Bit::default(); 64],
            leading: [<[Bit; 1 << LEARNED]>::default(); 65],
            before: 0,
        }
    }
}

/// A number of `n` bits as a path from the root of a tree of questions.
#[inline]
fn walk(coder: &mut impl Coder, tree: &mut [Bit], n: u32, value: u32) -> u32 {
    let mut at = 1;
    for level in (0..n).rev() {
        let bit = coder.bit(&mut tree[at as usize], value >> level & 1 == 1);
        at = at << 1 | u32::from(bit);
    }
    at - (1 << n)
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
        let mut n_bits = 1 + walk(coder, &mut self.short, 3, length.clamp(1, SHORT + 1) - 1);
        if n_bits > SHORT {
            n_bits +=
                walk(coder, &mut self.long, 6, length.saturating_sub(SHORT + 1)).min(u64::BITS - n_bits);
        }
        let learned = (n_bits - 1).min(LEARNED);
        let rest = n_bits - 1 - learned;
        #[expect(clippy::cast_possible_truncation, reason = "four bits")]
        let leading = (count >> rest) as u32 & ((1 << learned) - 1);
        let head = 1 << learned | walk(coder, &mut self.leading[n_bits as usize], learned, leading);
        if rest == 0 { u64::from(head) } else { u64::from(head) << rest | coder.bits(rest, count) }
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
