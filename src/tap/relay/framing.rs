//! Where a body ends: after a length, after its last chunk, or with the connection. Bytes pass as they are; what they
//! carry is shown on the way.

use thiserror::Error;

/// Most bytes of one chunk's extensions, and of all trailers.
const MAX_ASIDE: usize = 16 << 10;
/// Digits of a chunk's size that fit into 64 bits.
const MAX_DIGITS: u8 = 16;

/// Chunks that are none (RFC 9112, section 7.1). Line ends have to be `CRLF`: whoever takes a bare `LF` for one sees
/// another body.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the chunks of a body are malformed")]
pub(super) struct Malformed {
    /// Bytes before the first that is wrong.
    pub(super) after: usize,
}

/// How a body is delimited, and how far it has come.
#[derive(Debug)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks.
    Chunked(Chunks),
    /// Until the connection ends.
    UntilClose,
}

/// The place within a body in chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// Of the present chunk.
    left: u64,
    digits: u8,
    /// Bytes of extensions.
    aside: usize,
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Blank,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer, or of the last line.
    Line,
    Trailer,
    TrailerEnd,
    LastEnd,
    Done,
}

impl Framing {
    /// A body in chunks, at its beginning.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks { state: State::Size, left: 0, digits: 0, aside: 0, trailers: Vec::new() })
    }

    /// Whether nothing is to come any more.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.state == State::Done,
            Self::UntilClose => false,
        }
    }

    /// How many bytes at the front of `bytes` belong to the body; `payload` is given what they carry, piece by piece.
    ///
    /// # Errors
    ///
    /// [`Malformed`], and how many bytes belong to the body all the same.
    pub(super) fn take(&mut self, bytes: &[u8], mut payload: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let count = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= count as u64;
                if count > 0 {
                    payload(&bytes[..count]);
                }
                Ok(count)
            }
            Self::Chunked(chunks) => chunks.take(bytes, payload),
            Self::UntilClose => {
                if !bytes.is_empty() {
                    payload(bytes);
                }
                Ok(bytes.len())
            }
        }
    }

    /// Header lines after the last chunk, each with its line end.
    pub(super) fn trailers(&self) -> &[u8] {
        match self {
            Self::Chunked(chunks) => &chunks.trailers,
            _ => &[],
        }
    }
}

impl Chunks {
    fn take(&mut self, bytes: &[u8], mut payload: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let rest = &bytes[at..];
                let count = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                payload(&rest[..count]);
                self.left -= count as u64;
                at += count;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(bytes[at]).ok_or(Malformed { after: at })?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Option<State> {
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                self.left = self.left << 4 | u64::from(digit);
                self.digits += 1;
                Some(State::Size)
            }
            (State::Size | State::Blank, b' ' | b'\t') if self.digits > 0 => self.aside(State::Blank),
            (State::Size | State::Blank, b';') if self.digits > 0 => self.aside(State::Extension),
            (State::Size | State::Blank, b'\r') if self.digits > 0 => Some(State::SizeEnd),
            (State::Extension, b'\r') => Some(State::SizeEnd),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.aside(State::Extension),
            (State::SizeEnd, b'\n') => {
                (self.digits, self.aside) = (0, 0);
                Some(if self.left == 0 { State::Line } else { State::Data })
            }
            (State::DataCr, b'\r') => Some(State::DataLf),
            (State::DataLf, b'\n') => Some(State::Size),
            (State::Line, b'\r') => Some(State::LastEnd),
            (State::LastEnd, b'\n') => Some(State::Done),
            (State::Line | State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.trailer(byte, State::Trailer)
            }
            (State::Trailer, b'\r') => self.trailer(byte, State::TrailerEnd),
            (State::TrailerEnd, b'\n') => self.trailer(byte, State::Line),
            _ => None,
        }
    }

    fn aside(&mut self, next: State) -> Option<State> {
        self.aside += 1;
        (self.aside <= MAX_ASIDE).then_some(next)
    }

    fn trailer(&mut self, byte: u8, next: State) -> Option<State> {
        self.trailers.push(byte);
        (self.trailers.len() <= MAX_ASIDE).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes taken and payload, reading in pieces that end at `cuts`.
    fn read(mut framing: Framing, bytes: &[u8], cuts: &[usize]) -> Result<(usize, Vec<u8>, bool), usize> {
        let mut payload = Vec::new();
        let mut taken = 0;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        for cut in cuts {
            while taken < cut && !framing.is_done() {
                taken += framing
                    .take(&bytes[taken..cut], |piece| payload.extend_from_slice(piece))
                    .map_err(|malformed| taken + malformed.after)?;
            }
        }
        Ok((taken, payload, framing.is_done()))
    }

    #[track_caller]
    fn check(bytes: &str, taken: usize, payload: &str, done: bool) {
        let read = read(Framing::chunked(), bytes.as_bytes(), &[]);
        assert_eq!(read, Ok((taken, payload.as_bytes().to_vec(), done)), "{bytes:?}");
    }

    #[test]
    fn chunks_end_where_they_say() {
        check("0\r\n\r\nGET", 5, "", true);
        check("3\r\nabc\r\n0\r\n\r\n", 13, "abc", true);
        check("3 \t;a=\"b\"\r\nabc\r\n00\r\nX-A: 1\r\nb: 2\r\n\r\nrest", 36, "abc", true);
        check("A\r\n01234\r\n678\r\n0\r\n\r\n", 20, "01234\r\n678", true);
        check("ffffffffffffffff\r\nabc", 21, "abc", false);
        check("3\r\nab", 5, "ab", false);
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bytes in [
            "\r",
            "x",
            "-",
            "+",
            " ",
            "1\n",
            "1;a\n",
            "1\r\r",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\r\r",
            "0\r\nX: 1\n",
            "0\r\nX: 1\r\r",
            "0\r\n\n",
            "0x",
            "1_",
            "10000000000000000",
            "1;\u{1}",
        ] {
            let read = read(Framing::chunked(), bytes.as_bytes(), &[]);
            assert_eq!(read, Err(bytes.len() - 1), "the last byte of {bytes:?}");
        }
        let long = "a".repeat(MAX_ASIDE);
        for bytes in [format!("1;{long}\r\n"), format!("0\r\n{long}: 1\r\n\r\n")] {
            assert!(read(Framing::chunked(), bytes.as_bytes(), &[]).is_err());
        }
    }

    #[test]
    fn a_length_leaves_what_follows() {
        assert_eq!(read(Framing::Length(3), b"abcdef", &[1, 2]), Ok((3, b"abc".to_vec(), true)));
        assert_eq!(read(Framing::Length(9), b"abc", &[]), Ok((3, b"abc".to_vec(), false)));
        assert_eq!(read(Framing::UntilClose, b"abc", &[2]), Ok((3, b"abc".to_vec(), false)));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            extension in "(;[a-z]{0,3})?", trailers in prop::collection::vec("[a-zA-Z-]{1,5}: [ -~]{0,9}", 0..3),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend(format!("{:x}{extension}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n");
            for trailer in &trailers {
                bytes.extend(format!("{trailer}\r\n").bytes());
            }
            bytes.extend(b"\r\n");
            let length = bytes.len();
            bytes.extend(b"GET / HTTP/1.1\r\n");
            prop_assert_eq!(read(Framing::chunked(), &bytes, &cuts), Ok((length, chunks.concat(), true)));
        }

        #[test]
        fn arbitrary_bytes_give_the_same_in_any_split(
            bytes in prop::collection::vec(prop::sample::select(b"01aF;\r\n x".as_slice()), 0..60),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let (whole, split) = (read(Framing::chunked(), &bytes, &[]), read(Framing::chunked(), &bytes, &cuts));
            prop_assert_eq!(whole, split);
        }
    }
}
