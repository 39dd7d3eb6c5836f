//! The model that a gRPC prediction is for: not its path but its message names it, in the first field.

use std::io::Read;

use flate2::read::{GzDecoder, ZlibDecoder};

use crate::decode::Protocol;

/// Bytes of a body that are looked at; names are far shorter.
pub(super) const LOOKED_AT_BYTES: usize = 512;
/// Flag and length before each message of a stream.
const PREFIX_BYTES: usize = 5;
/// The tag of a first field that has a length.
const FIRST_FIELD: u8 = 0x0a;

/// Whether requests of this protocol name their model in the body alone.
pub(super) fn is_in_body(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::OpenInferenceGrpc | Protocol::TensorflowGrpc | Protocol::TorchServeGrpc)
}

/// The name of the model in the first bytes of a request's body, as far as they go.
pub(super) fn model_name(protocol: Protocol, body: &[u8]) -> Option<String> {
    let (prefix, message) = body.split_at_checked(PREFIX_BYTES)?;
    let mut inflated = Vec::new();
    let message = if prefix[0] == 0 {
        message
    } else {
        // What is there of it inflates to its beginning; the cut end is an error after that.
        let limit = LOOKED_AT_BYTES as u64;
        let mut zipped = GzDecoder::new(message).take(limit);
        if zipped.read_to_end(&mut inflated).is_err() && inflated.is_empty() {
            let mut zipped = ZlibDecoder::new(message).take(limit);
            if zipped.read_to_end(&mut inflated).is_err() && inflated.is_empty() {
                return None;
            }
        }
        &inflated
    };
    let mut name = first_field(message)?;
    if protocol == Protocol::TensorflowGrpc {
        // The name is the first field of the specification that is the first field.
        name = first_field(name)?;
    }
    String::from_utf8(name.to_vec()).ok()
}

/// The content of the first field, if it is whole and has a length.
fn first_field(message: &[u8]) -> Option<&[u8]> {
    let (&tag, rest) = message.split_first()?;
    if tag != FIRST_FIELD {
        return None;
    }
    let (&low, rest) = rest.split_first()?;
    let (length, rest) = if low < 0x80 {
        (usize::from(low), rest)
    } else {
        let (&high, rest) = rest.split_first()?;
        if high >= 0x80 {
            return None;
        }
        (usize::from(low & 0x7f) | usize::from(high) << 7, rest)
    };
    rest.get(..length)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const V2: Protocol = Protocol::OpenInferenceGrpc;
    const TENSORFLOW: Protocol = Protocol::TensorflowGrpc;

    #[test]
    fn the_first_field_names_the_model() {
        let long = [&b"\0\0\0\0\x09\x0a\xc8\x01"[..], &[b'x'; 200]].concat();
        for (protocol, body, name) in [
            (V2, &b"\0\0\0\0\x07\x0a\x05bikes\x12\x01"[..], Some("bikes")),
            (V2, &long, Some(&*"x".repeat(200))),
            (TENSORFLOW, b"\0\0\0\0\x07\x0a\x07\x0a\x05bikes", Some("bikes")),
            (TENSORFLOW, b"\0\0\0\0\x07\x0a\x02\x12\x00", None),
            (V2, b"\0\0\0\0\x07\x0a\x05bik", None),
            (V2, b"\0\0\0\0\x07\x12\x05bikes", None),
            (V2, b"\0\0\0\0\x02\x0a\x02\xff\xfe", None),
            (V2, b"\0\0", None),
        ] {
            assert_eq!(model_name(protocol, body).as_deref(), name, "{body:?}");
        }
    }

    #[test]
    fn a_compressed_message_is_inflated_as_far_as_it_goes() {
        let message = [b"\x0a\x05bikes".to_vec(), vec![7; 100_000]].concat();
        let mut gzip = flate2::write::GzEncoder::new(vec![1, 0, 0, 0, 9], flate2::Compression::fast());
        gzip.write_all(&message).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(vec![1, 0, 0, 0, 9], flate2::Compression::fast());
        zlib.write_all(&message).unwrap();
        for body in [gzip.finish().unwrap(), zlib.finish().unwrap()] {
            assert_eq!(model_name(V2, &body[..150]).as_deref(), Some("bikes"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(body in prop::collection::vec(any::<u8>(), 0..64)) {
            model_name(V2, &body);
            model_name(TENSORFLOW, &body);
        }
    }
}
