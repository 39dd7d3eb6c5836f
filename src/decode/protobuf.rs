//! The protobuf wire format, read field by field out of the bytes: nothing is copied, nothing is trusted.
//!
//! A reader never descends by itself, so depth is bounded by what its caller knows of the message; lengths are checked
//! against the bytes that are there before they mean anything.

/// The bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire<'b> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1, little endian.
    Fixed64(u64),
    /// Wire type 2: text, bytes, a message, or packed numbers.
    Bytes(&'b [u8]),
    /// Wire type 5, little endian.
    Fixed32(u32),
}

impl<'b> Wire<'b> {
    /// What a field of text, bytes or a message must be.
    pub(crate) fn bytes(self) -> Result<&'b [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    /// A `string` field.
    pub(crate) fn text(self) -> Result<&'b str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    /// A field of any integer type but the zigzag ones.
    pub(crate) fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed),
        }
    }
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'b> {
    /// Number in the schema, from 1.
    pub number: u32,
    /// What it holds.
    pub wire: Wire<'b>,
}

/// The fields of a message in the order of the bytes; after a malformed one there are no more.
#[derive(Debug, Clone)]
pub struct Fields<'b> {
    rest: &'b [u8],
}

impl<'b> Fields<'b> {
    /// The fields of the message in `bytes`.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    fn field(&mut self) -> Result<Field<'b>, Malformed> {
        let tag = varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        if number == 0 || number >= 1 << 29 {
            return Err(Malformed);
        }
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut self.rest)?),
            1 => Wire::Fixed64(u64::from_le_bytes(fixed(&mut self.rest)?)),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(fixed(&mut self.rest)?)),
            // Groups, which none of the formats has, and numbers that mean nothing.
            _ => return Err(Malformed),
        };
        Ok(Field { number, wire })
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<Field<'b>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or(Malformed)?;
    *rest = after;
    Ok(*bytes)
}

/// Takes one varint off the front of `rest`.
pub(crate) fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for (at, byte) in rest.iter().enumerate().take(10) {
        // The tenth byte has room for one bit.
        if at == 9 && *byte > 1 {
            return Err(Malformed);
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// Visits the numbers of one occurrence of a repeated varint field, packed or not.
pub(crate) fn each_varint(wire: Wire<'_>, mut visit: impl FnMut(u64)) -> Result<(), Malformed> {
    match wire {
        Wire::Varint(value) => visit(value),
        Wire::Bytes(mut packed) => {
            while !packed.is_empty() {
                visit(varint(&mut packed)?);
            }
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

/// Visits the numbers of one occurrence of a repeated 32-bit field, packed or not.
pub(crate) fn each_fixed32(wire: Wire<'_>, mut visit: impl FnMut(u32)) -> Result<(), Malformed> {
    match wire {
        Wire::Fixed32(value) => visit(value),
        Wire::Bytes(packed) => {
            let (chunks, rest) = packed.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(Malformed);
            }
            for chunk in chunks {
                visit(u32::from_le_bytes(*chunk));
            }
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

/// Visits the numbers of one occurrence of a repeated 64-bit field, packed or not.
pub(crate) fn each_fixed64(wire: Wire<'_>, mut visit: impl FnMut(u64)) -> Result<(), Malformed> {
    match wire {
        Wire::Fixed64(value) => visit(value),
        Wire::Bytes(packed) => {
            let (chunks, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(Malformed);
            }
            for chunk in chunks {
                visit(u64::from_le_bytes(*chunk));
            }
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes messages, for tests: by the specification, and with nothing of the reader in it.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Writer(pub(crate) Vec<u8>);

    impl Writer {
        pub(crate) fn raw_varint(mut self, mut value: u64) -> Self {
            loop {
                let low = u8::try_from(value % 128).unwrap();
                value /= 128;
                if value == 0 {
                    self.0.push(low);
                    return self;
                }
                self.0.push(low + 128);
            }
        }

        fn tag(self, number: u32, wire: u64) -> Self {
            self.raw_varint(u64::from(number) * 8 + wire)
        }

        pub(crate) fn varint(self, number: u32, value: u64) -> Self {
            self.tag(number, 0).raw_varint(value)
        }

        pub(crate) fn fixed64(self, number: u32, value: u64) -> Self {
            let mut writer = self.tag(number, 1);
            writer.0.extend(value.to_le_bytes());
            writer
        }

        pub(crate) fn bytes(self, number: u32, value: impl AsRef<[u8]>) -> Self {
            let value = value.as_ref();
            let mut writer = self.tag(number, 2).raw_varint(u64::try_from(value.len()).unwrap());
            writer.0.extend(value);
            writer
        }

        pub(crate) fn fixed32(self, number: u32, value: u32) -> Self {
            let mut writer = self.tag(number, 5);
            writer.0.extend(value.to_le_bytes());
            writer
        }

        pub(crate) fn message(self, number: u32, message: Writer) -> Self {
            self.bytes(number, message.0)
        }

        pub(crate) fn packed(self, number: u32, values: impl IntoIterator<Item = u64>) -> Self {
            let packed = values.into_iter().fold(Writer::default(), Writer::raw_varint);
            self.bytes(number, packed.0)
        }
    }

    #[derive(Debug, Clone, PartialEq)]
    enum Owned {
        Varint(u64),
        Fixed64(u64),
        Bytes(Vec<u8>),
        Fixed32(u32),
    }

    fn any_field() -> impl Strategy<Value = (u32, Owned)> {
        let value = prop_oneof![
            any::<u64>().prop_map(Owned::Varint),
            (0_u64..300).prop_map(Owned::Varint),
            any::<u64>().prop_map(Owned::Fixed64),
            proptest::collection::vec(any::<u8>(), 0..200).prop_map(Owned::Bytes),
            any::<u32>().prop_map(Owned::Fixed32),
        ];
        (1_u32..(1 << 29), value)
    }

    fn read(bytes: &[u8]) -> Result<Vec<(u32, Owned)>, Malformed> {
        Fields::new(bytes)
            .map(|field| {
                let Field { number, wire } = field?;
                let value = match wire {
                    Wire::Varint(value) => Owned::Varint(value),
                    Wire::Fixed64(value) => Owned::Fixed64(value),
                    Wire::Bytes(bytes) => Owned::Bytes(bytes.to_vec()),
                    Wire::Fixed32(value) => Owned::Fixed32(value),
                };
                Ok((number, value))
            })
            .collect()
    }

    #[test]
    fn the_examples_of_the_specification_read() {
        // From https://protobuf.dev/programming-guides/encoding/
        assert_eq!(read(&[0x08, 0x96, 0x01]), Ok(vec![(1, Owned::Varint(150))]));
        assert_eq!(read(b"\x12\x07testing"), Ok(vec![(2, Owned::Bytes(b"testing".to_vec()))]));
        let packed = read(&[0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]).unwrap();
        let (6, Owned::Bytes(packed)) = &packed[0] else { panic!("{packed:?}") };
        let mut numbers = Vec::new();
        each_varint(Wire::Bytes(packed), |number| numbers.push(number)).unwrap();
        assert_eq!(numbers, [3, 270, 86_942]);
        let minus_two = [&[0x08][..], &[0xfe], &[0xff; 8], &[0x01]].concat();
        assert_eq!(read(&minus_two), Ok(vec![(1, Owned::Varint(u64::MAX - 1))]));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let bad: [(&str, &[u8]); 11] = [
            ("field number 0", &[0x00, 0x01]),
            ("a group", &[0x0b, 0x0c]),
            ("the end of a group", &[0x0c]),
            ("wire type 6", &[0x0e]),
            ("wire type 7", &[0x0f]),
            ("a varint that does not end", &[0x08, 0x80]),
            ("a varint of eleven bytes", &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
            ("a varint of more than 64 bits", &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]),
            ("a length beyond the end", &[0x0a, 0x02, 0x00]),
            ("a length beyond any memory", &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
            ("a field number beyond the largest", &[0x80, 0x80, 0x80, 0x80, 0x10, 0x00]),
        ];
        for (what, bytes) in bad {
            let mut fields = Fields::new(bytes);
            assert_eq!(fields.next(), Some(Err(Malformed)), "{what}");
            assert_eq!(fields.next(), None, "{what}");
        }
        assert_eq!(read(&[0x0d, 1, 2, 3]), Err(Malformed), "three bytes of four");
        assert_eq!(read(&[0x09, 1, 2, 3, 4, 5, 6, 7]), Err(Malformed), "seven bytes of eight");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(fields in proptest::collection::vec(any_field(), 0..12)) {
            let written = fields.iter().fold(Writer::default(), |writer, (number, value)| match value {
                Owned::Varint(value) => writer.varint(*number, *value),
                Owned::Fixed64(value) => writer.fixed64(*number, *value),
                Owned::Bytes(value) => writer.bytes(*number, value),
                Owned::Fixed32(value) => writer.fixed32(*number, *value),
            });
            let all = read(&written.0);
            prop_assert_eq!(all.as_ref(), Ok(&fields));
            // Whatever ends early is either a prefix of the fields or refused.
            for end in 0..written.0.len() {
                if let Ok(some) = read(&written.0[..end]) {
                    prop_assert_eq!(&some[..], &fields[..some.len()]);
                }
            }
        }

        #[test]
        fn packed_and_unpacked_are_the_same(numbers in proptest::collection::vec(any::<u64>(), 0..20)) {
            let read_all = |written: &Writer| {
                let (mut varints, mut words, mut halves) = (Vec::new(), Vec::new(), Vec::new());
                for field in Fields::new(&written.0) {
                    let Field { number, wire } = field.unwrap();
                    match number {
                        1 => each_varint(wire, |value| varints.push(value)).unwrap(),
                        2 => each_fixed64(wire, |value| words.push(value)).unwrap(),
                        _ => each_fixed32(wire, |value| halves.push(u64::from(value))).unwrap(),
                    }
                }
                (varints, words, halves)
            };
            let low = |number: &u64| u32::try_from(number & 0xffff_ffff).unwrap();
            let packed = Writer::default()
                .packed(1, numbers.iter().copied())
                .bytes(2, numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>())
                .bytes(3, numbers.iter().flat_map(|number| low(number).to_le_bytes()).collect::<Vec<_>>());
            let unpacked = numbers.iter().fold(Writer::default(), |writer, number| {
                writer.varint(1, *number).fixed64(2, *number).fixed32(3, low(number))
            });
            let halves: Vec<u64> = numbers.iter().map(|number| u64::from(low(number))).collect();
            let expected = (numbers.clone(), numbers, halves);
            prop_assert_eq!(&read_all(&packed), &expected);
            prop_assert_eq!(&read_all(&unpacked), &expected);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let read: usize = Fields::new(&bytes).flatten().filter_map(|field| field.wire.bytes().ok()).map(<[u8]>::len).sum();
            prop_assert!(read <= bytes.len());
        }
    }
}
