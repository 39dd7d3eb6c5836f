//! The messages of a gRPC body: a flag, a length, and so many bytes, as often as there are messages.

use std::borrow::Cow;

use crate::decode::inflate::{InflateProblem, inflate};

/// Messages that one body may have.
pub const MAX_MESSAGES: usize = 10_000;
/// Flag and length before each message.
const HEAD: usize = 5;

/// Why a body could not be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameProblem {
    /// The body ends within a message.
    Cut,
    /// A flag that means nothing in gRPC.
    BadFlag,
    /// More than [`MAX_MESSAGES`].
    TooMany,
    /// A message says it is compressed and could not be inflated.
    Inflate(InflateProblem),
}

/// The messages of `body`, of which at most `limit` bytes are inflated.
///
/// The flag of a message says whether it is compressed; `grpc_encoding` only says how, and is also sent where nothing
/// is.
///
/// # Errors
///
/// [`FrameProblem`]; no message is given of a body that is not whole.
pub fn messages<'b>(
    body: &'b [u8],
    grpc_encoding: Option<&str>,
    limit: usize,
) -> Result<Vec<Cow<'b, [u8]>>, FrameProblem> {
    let mut messages = Vec::new();
    let mut rest = body;
    let mut left = limit;
    while !rest.is_empty() {
        if messages.len() == MAX_MESSAGES {
            return Err(FrameProblem::TooMany);
        }
        let (head, after) = rest.split_first_chunk::<HEAD>().ok_or(FrameProblem::Cut)?;
        let [flag, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| FrameProblem::Cut)?;
        let (message, after) = after.split_at_checked(length).ok_or(FrameProblem::Cut)?;
        rest = after;
        messages.push(match flag {
            0 => Cow::Borrowed(message),
            1 => {
                let inflated = inflate(message, grpc_encoding, left).map_err(|problem| {
                    FrameProblem::Inflate(match problem {
                        InflateProblem::TooLarge { .. } => InflateProblem::TooLarge { limit },
                        other => other,
                    })
                })?;
                left -= inflated.len().min(left);
                inflated
            }
            _ => return Err(FrameProblem::BadFlag),
        });
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![flag];
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_flag_decides_and_the_header_says_how() {
        let plain = frame(0, b"plain");
        for encoding in [None, Some("identity"), Some("gzip"), Some("whatever")] {
            assert_eq!(messages(&plain, encoding, 9).unwrap(), [b"plain".as_slice()], "{encoding:?}");
        }
        let packed = frame(1, &gzip(b"packed"));
        let both = [plain, packed, frame(0, b"")].concat();
        let expected = [b"plain".as_slice(), b"packed", b""];
        assert_eq!(messages(&both, Some("gzip"), 9).unwrap(), expected);
        // Without the header gzip shows by itself.
        assert_eq!(messages(&both, None, 9).unwrap(), expected);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(b"zlib").unwrap();
        let zlib = frame(1, &zlib.finish().unwrap());
        assert_eq!(messages(&zlib, Some("deflate"), 9).unwrap(), [b"zlib".as_slice()]);
        let unknown = messages(&zlib, Some("snappy"), 9);
        assert_eq!(unknown, Err(FrameProblem::Inflate(InflateProblem::UnknownCoding)));
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let body = frame(0, b"abc");
        for end in 1..body.len() {
            assert_eq!(messages(&body[..end], None, 9), Err(FrameProblem::Cut), "{end}");
        }
        assert_eq!(messages(&frame(2, b""), None, 9), Err(FrameProblem::BadFlag));
        assert_eq!(messages(&[0, 0xff, 0xff, 0xff, 0xff, 1], None, 9), Err(FrameProblem::Cut));
        assert!(messages(&[], None, 9).unwrap().is_empty());
        let empty = frame(0, b"");
        assert_eq!(messages(&empty.repeat(MAX_MESSAGES), None, 9).map(|all| all.len()), Ok(MAX_MESSAGES));
        assert_eq!(messages(&empty.repeat(MAX_MESSAGES + 1), None, 9), Err(FrameProblem::TooMany));
    }

    #[test]
    fn the_bound_is_for_all_messages_together() {
        let four = frame(1, &gzip(b"four"));
        let too_large = Err(FrameProblem::Inflate(InflateProblem::TooLarge { limit: 11 }));
        assert_eq!(messages(&four.repeat(3), Some("gzip"), 11), too_large);
        assert_eq!(messages(&four.repeat(3), Some("gzip"), 12).unwrap().len(), 3);
    }

    proptest! {
        #[test]
        fn what_is_framed_comes_back(parts in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..6
        )) {
            let body: Vec<u8> = parts
                .iter()
                .flat_map(|(packed, part)| if *packed { frame(1, &gzip(part)) } else { frame(0, part) })
                .collect();
            let expected: Vec<&[u8]> = parts.iter().map(|(_, part)| part.as_slice()).collect();
            prop_assert_eq!(messages(&body, Some("gzip"), 1000).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(all) = messages(&bytes, Some("gzip"), 100) {
                prop_assert!(all.iter().map(|message| message.len()).sum::<usize>() <= 100 + bytes.len());
            }
        }
    }
}
