//! Numbers out of their digits: most are exact after one multiplication, the others are left to the standard library.

/// Powers of ten that are exact.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Digits that always fit into 64 bits.
const SAFE_DIGITS: usize = 19;

/// Whole numbers up to here are exact.
const EXACT: u64 = 1 << 53;

/// The number at the start of `bytes`, as JSON writes numbers, and its length; infinite where it is too large.
///
/// # Source
///
/// Clinger (1990), How to read floating point numbers accurately: a mantissa and a power of ten that are both exact give
/// the nearest number in one operation.
pub(super) fn scan(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let mut mantissa = 0;
    let mut at =
        if bytes.get(start) == Some(&b'0') { start + 1 } else { digits(bytes, start, &mut mantissa) };
    if at == start {
        return None;
    }
    let mut n_digits = at - start;
    let mut power = 0_i64;
    if bytes.get(at) == Some(&b'.') {
        let end = digits(bytes, at + 1, &mut mantissa);
        let decimals = end - at - 1;
        if decimals == 0 {
            return None;
        }
        n_digits += decimals;
        power = -i64::try_from(decimals).ok()?;
        at = end;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = bytes.get(at + 1);
        let from = at + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
        let mut exponent = 0;
        let end = digits(bytes, from, &mut exponent);
        if end == from {
            return None;
        }
        // A longer one may have overflowed; the standard library reads it.
        n_digits = if end - from > 4 { usize::MAX } else { n_digits };
        let exponent = i64::try_from(exponent).unwrap_or(i64::MAX / 2);
        power = power.saturating_add(if sign == Some(&b'-') { -exponent } else { exponent });
        at = end;
    }
    let factor = usize::try_from(power.unsigned_abs()).ok().and_then(|power| POWERS.get(power));
    let value = match factor {
        Some(factor) if n_digits <= SAFE_DIGITS && mantissa <= EXACT => {
            let whole = mantissa as f64;
            let value = if power < 0 { whole / factor } else { whole * factor };
            if negative { -value } else { value }
        }
        _ => std::str::from_utf8(bytes.get(..at)?).ok()?.parse().ok()?,
    };
    Some((value, at))
}

/// Where the digits from `at` on end; they are put behind those of `mantissa`.
fn digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(&eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>)
        && let Some(value) = eight_digits(eight)
    {
        *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(value);
        at += 8;
    }
    while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        at += 1;
    }
    at
}

/// The value of eight digits, computed in three multiplications; absent where one of them is none.
///
/// # Source
///
/// Lemire (2021), Number parsing at a gigabyte per second, arXiv:2101.11408.
fn eight_digits(bytes: [u8; 8]) -> Option<u64> {
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let word = u64::from_le_bytes(bytes);
    if word & HIGH != ZEROS || word.wrapping_add(0x0606_0606_0606_0606) & HIGH != ZEROS {
        return None;
    }
    let pairs = (word - ZEROS).wrapping_mul(10).wrapping_add((word - ZEROS) >> 8);
    let low = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let high = (pairs >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    Some(low.wrapping_add(high) >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str) {
        let expected: f64 = text.parse().unwrap();
        let (value, length) = scan(format!("{text},").as_bytes()).unwrap();
        assert_eq!((value.to_bits(), length), (expected.to_bits(), text.len()), "{text}");
    }

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        for text in [
            "0",
            "-0",
            "0.0",
            "-0.0e5",
            "1",
            "-1",
            "123456789012345678901234567890",
            "9007199254740993",
            "0.1",
            "1e22",
            "1e23",
            "1E-22",
            "1e+3",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
            "0e99999999999999999999",
            "0.30000000000000004",
            "12345678.87654321",
            "1.7976931348623157e308",
            "5e-324",
            "0.000000000000000000000000000001",
            "12345678901234567890e-30",
        ] {
            check(text);
        }
    }

    #[test]
    fn what_is_no_number_is_refused_or_ends_it() {
        for text in ["", "-", ".5", "-.5", "1.", "1.e5", "1e", "1e+", "+1", "e5", "x"] {
            assert_eq!(scan(text.as_bytes()), None, "{text}");
        }
        for (text, length) in
            [("01", 1), ("-01", 2), ("1.5.5", 3), ("1e5e5", 3), ("12345678/", 8), ("1234567:", 7)]
        {
            assert_eq!(scan(text.as_bytes()).map(|(_, length)| length), Some(length), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_number_survives(value in any::<f64>(), places in 0..20_usize) {
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:.places$}")] {
                check(&text);
            }
        }

        #[test]
        fn any_digits_are_read_as_the_standard_library_does(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
            check(&text);
        }
    }
}
