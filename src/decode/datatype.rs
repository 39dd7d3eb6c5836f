//! Element types of tensors, and their numbers out of little-endian bytes.

/// An element type by its Open Inference name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

/// Names as the protocol writes them; `STRING` is Triton's own for `BYTES`.
const NAMES: [(&str, Datatype); 15] = [
    ("FP32", Datatype::Fp32),
    ("FP64", Datatype::Fp64),
    ("INT64", Datatype::Int64),
    ("INT32", Datatype::Int32),
    ("BYTES", Datatype::Bytes),
    ("BOOL", Datatype::Bool),
    ("UINT8", Datatype::Uint8),
    ("UINT16", Datatype::Uint16),
    ("UINT32", Datatype::Uint32),
    ("UINT64", Datatype::Uint64),
    ("INT8", Datatype::Int8),
    ("INT16", Datatype::Int16),
    ("FP16", Datatype::Fp16),
    ("BF16", Datatype::Bf16),
    ("STRING", Datatype::Bytes),
];

impl Datatype {
    /// The type of this name, in any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, datatype)| *datatype)
    }

    /// Bytes per element; absent for [`Datatype::Bytes`], whose elements say themselves.
    pub(crate) fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// Calls `visit` with `count` numbers from element `start` on, every `step` elements, until `bytes` end.
    ///
    /// Integers beyond 2^53 are rounded, as they are in JSON.
    pub(crate) fn each(self, bytes: &[u8], start: usize, step: usize, count: usize, visit: impl FnMut(f64)) {
        fn gather<const N: usize>(
            bytes: &[u8],
            (start, step, count): (usize, usize, usize),
            number: impl Fn([u8; N]) -> f64,
            visit: impl FnMut(f64),
        ) {
            let elements = bytes.as_chunks::<N>().0;
            let from = elements.get(start..).unwrap_or_default();
            from.iter().step_by(step.max(1)).take(count).map(|bytes| number(*bytes)).for_each(visit);
        }
        let which = (start, step, count);
        match self {
            Self::Bool => gather(bytes, which, |[byte]: [u8; 1]| f64::from(u8::from(byte != 0)), visit),
            Self::Uint8 => gather(bytes, which, |[byte]: [u8; 1]| f64::from(byte), visit),
            Self::Int8 => gather(bytes, which, |bytes| f64::from(i8::from_le_bytes(bytes)), visit),
            Self::Uint16 => gather(bytes, which, |bytes| f64::from(u16::from_le_bytes(bytes)), visit),
            Self::Int16 => gather(bytes, which, |bytes| f64::from(i16::from_le_bytes(bytes)), visit),
            Self::Fp16 => gather(bytes, which, |bytes| half(u16::from_le_bytes(bytes)), visit),
            Self::Bf16 => gather(bytes, which, |bytes| brain(u16::from_le_bytes(bytes)), visit),
            Self::Uint32 => gather(bytes, which, |bytes| f64::from(u32::from_le_bytes(bytes)), visit),
            Self::Int32 => gather(bytes, which, |bytes| f64::from(i32::from_le_bytes(bytes)), visit),
            Self::Fp32 => gather(bytes, which, |bytes| f64::from(f32::from_le_bytes(bytes)), visit),
            Self::Uint64 => gather(bytes, which, |bytes| u64::from_le_bytes(bytes) as f64, visit),
            Self::Int64 => gather(bytes, which, |bytes| i64::from_le_bytes(bytes) as f64, visit),
            Self::Fp64 => gather(bytes, which, f64::from_le_bytes, visit),
            Self::Bytes => {}
        }
    }
}

/// IEEE 754 binary16: sign, 5 bits of exponent, 10 of fraction.
pub(crate) fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * f64::from_bits((1023 - 24) << 52),
        0x1f if fraction == 0.0 => sign * f64::INFINITY,
        0x1f => f64::NAN,
        _ => sign * (1024.0 + fraction) * 2.0_f64.powi(exponent - 25),
    }
}

/// bfloat16: the upper half of an `f32`.
pub(crate) fn brain(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_what_the_standard_says() {
        // From the table of examples in IEEE 754's article on the format.
        let known = [
            (0x0000, 0.0),
            (0x0001, 0.000_000_059_604_644_775_390_63),
            (0x03ff, 0.000_060_975_551_605_224_61),
            (0x0400, 0.000_061_035_156_25),
            (0x3555, 0.333_251_953_125),
            (0x3bff, 0.999_511_718_75),
            (0x3c00, 1.0),
            (0x3c01, 1.000_976_562_5),
            (0x7bff, 65_504.0),
            (0x7c00, f64::INFINITY),
            (0xc000, -2.0),
            (0xfc00, f64::NEG_INFINITY),
        ];
        for (bits, expected) in known {
            assert_eq!(half(bits).to_bits(), f64::to_bits(expected), "{bits:04x}");
        }
        assert!(half(0x7c01).is_nan() && half(0xffff).is_nan());
        assert_eq!(half(0x8000).to_bits(), f64::to_bits(-0.0));
        for (bits, expected) in [(0x3f80, 1.0), (0xc049, -3.140_625), (0x7f80, f64::INFINITY)] {
            assert_eq!(brain(bits).to_bits(), f64::to_bits(expected), "{bits:04x}");
        }
    }

    #[test]
    fn halves_grow_with_their_bits() {
        for bits in 0..0x7c00 {
            let (number, next) = (half(bits), half(bits + 1));
            assert!(number < next, "{bits:04x}");
            assert_eq!((-number).to_bits(), half(bits | 0x8000).to_bits(), "{bits:04x}");
        }
    }

    #[test]
    fn names_are_known_in_any_case() {
        for (name, datatype) in NAMES {
            assert_eq!(Datatype::named(&name.to_lowercase()), Some(datatype));
        }
        assert_eq!(Datatype::named("FP8"), None);
    }

    #[test]
    fn elements_are_little_endian() {
        let read = |datatype: Datatype, bytes: &[u8]| {
            let mut numbers = Vec::new();
            datatype.each(bytes, 0, 1, 99, |number| numbers.push(number));
            numbers
        };
        assert_eq!(read(Datatype::Bool, &[0, 1, 7]), [0.0, 1.0, 1.0]);
        assert_eq!(read(Datatype::Uint8, &[0, 255]), [0.0, 255.0]);
        assert_eq!(read(Datatype::Int8, &[0, 255]), [0.0, -1.0]);
        assert_eq!(
            read(Datatype::Uint16, &[1, 2, 255, 255, 9]),
            [513.0, 65_535.0],
            "an odd byte is no element"
        );
        assert_eq!(read(Datatype::Int16, &[1, 2, 255, 255]), [513.0, -1.0]);
        assert_eq!(read(Datatype::Uint32, &u32::MAX.to_le_bytes()), [4_294_967_295.0]);
        assert_eq!(read(Datatype::Int32, &(-5_i32).to_le_bytes()), [-5.0]);
        assert_eq!(read(Datatype::Uint64, &u64::MAX.to_le_bytes()), [18_446_744_073_709_551_616.0]);
        assert_eq!(read(Datatype::Int64, &(-5_i64).to_le_bytes()), [-5.0]);
        assert_eq!(read(Datatype::Fp32, &1.5_f32.to_le_bytes()), [1.5]);
        assert_eq!(read(Datatype::Fp64, &0.1_f64.to_le_bytes()), [0.1]);
        assert_eq!(read(Datatype::Fp16, &[0x00, 0x3c]), [1.0]);
        assert_eq!(read(Datatype::Bf16, &[0x80, 0x3f]), [1.0]);
        let mut second_of_three = Vec::new();
        Datatype::Uint8.each(&[1, 2, 3, 4, 5, 6, 7, 8], 1, 3, 2, |number| second_of_three.push(number));
        assert_eq!(second_of_three, [2.0, 5.0]);
    }
}
