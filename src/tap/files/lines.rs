//! Whole lines out of a file that may still grow: bounded in length and number, half lines left for later.

use std::io::{self, BufRead};

/// Lines that one message holds at most.
const MAX_LINES: usize = 1000;

/// Bytes after which a message takes no further line.
const MAX_BYTES: usize = 1 << 20;

/// How lines are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cutting {
    /// Bytes of the longest line; longer ones are passed over.
    pub(super) line_limit: usize,
    /// Nothing follows the end of the file, so that what stands there without a line break is a line.
    pub(super) ends: bool,
    /// The last lines of one `request_id` are left for later, as more of it may follow.
    pub(super) whole_requests: bool,
}

/// Some whole lines, and where the file is read to with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cut {
    /// The lines, each with its line break.
    pub(super) body: Vec<u8>,
    /// Number of lines.
    pub(super) lines: usize,
    /// Bytes of the file that are done with.
    pub(super) consumed: u64,
    /// What is done with ends within a line that is too long.
    pub(super) in_long_line: bool,
    /// Lines that were too long.
    pub(super) too_long: u64,
    /// Lines that are not UTF-8.
    pub(super) not_utf8: u64,
    /// The end of the file was reached.
    pub(super) at_end: bool,
    /// Bytes of a line that has not ended.
    pub(super) half: u64,
    /// Where each line ends: in the file, and in `body`.
    ends: Vec<(u64, usize)>,
}

/// Cuts the next lines; `in_long_line` says that the file stands within a line that is too long.
///
/// Blank lines, a byte order mark and the zero bytes that a truncation under a writer leaves are passed over.
///
/// # Errors
///
/// What reading fails with.
pub(super) fn cut(reader: &mut impl BufRead, in_long_line: bool, cutting: Cutting) -> io::Result<Cut> {
    let mut cut = Cut { in_long_line, ..Cut::default() };
    let mut line: Vec<u8> = Vec::new();
    loop {
        let buffer = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            cut.at_end = true;
            if cutting.ends && (!line.is_empty() || cut.in_long_line) {
                cut.end_line(&mut line);
            }
            cut.half = line.len() as u64;
            return Ok(cut.finish(cutting));
        }
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let taken = newline.map_or(buffer.len(), |at| at + 1);
        if cut.in_long_line {
            cut.consumed += taken as u64;
        } else {
            line.extend_from_slice(&buffer[..taken]);
        }
        reader.consume(taken);
        // The line break does not count.
        if line.len() - usize::from(newline.is_some() && !line.is_empty()) > cutting.line_limit {
            cut.too_long += 1;
            cut.in_long_line = true;
            cut.consumed += line.len() as u64;
            line.clear();
        }
        if newline.is_some() {
            cut.end_line(&mut line);
            let full = cut.lines >= MAX_LINES || cut.body.len() >= MAX_BYTES;
            // Of a request that is alone in a message more rows are taken, up to what can be read at once.
            let alone = cutting.whole_requests && cut.lines < 8 * MAX_LINES && cut.is_one_request();
            if full && !alone {
                return Ok(cut.finish(cutting));
            }
        }
    }
}

impl Cut {
    fn end_line(&mut self, line: &mut Vec<u8>) {
        self.consumed += line.len() as u64;
        if !self.in_long_line {
            let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            let zeros = text.iter().take_while(|byte| **byte == 0).count();
            let text = text[zeros..].trim_ascii();
            if std::str::from_utf8(text).is_err() {
                self.not_utf8 += 1;
            } else if !text.is_empty() {
                self.body.extend_from_slice(text);
                self.body.push(b'\n');
                self.lines += 1;
                self.ends.push((self.consumed, self.body.len()));
            }
        }
        self.in_long_line = false;
        line.clear();
    }

    fn line(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1].1 };
        &self.body[start..self.ends[at].1]
    }

    fn is_one_request(&self) -> bool {
        let last = self.ends.len().saturating_sub(1);
        !self.ends.is_empty() && request(self.line(0)).is_some_and(|id| request(self.line(last)) == Some(id))
    }

    fn finish(mut self, cutting: Cutting) -> Self {
        if !cutting.whole_requests {
            return self;
        }
        let Some(id) = self.ends.len().checked_sub(1).and_then(|last| request(self.line(last))) else {
            return self;
        };
        let kept = (0..self.ends.len()).rev().find(|at| request(self.line(*at)).as_ref() != Some(&id));
        let alone = kept.is_none() && !self.at_end;
        if !alone {
            let (consumed, body) = kept.map_or((0, 0), |at| self.ends[at]);
            self.lines = kept.map_or(0, |at| at + 1);
            self.ends.truncate(self.lines);
            self.consumed = consumed;
            self.body.truncate(body);
            self.in_long_line = false;
            (self.too_long, self.not_utf8) = (0, 0);
        }
        self
    }
}

/// The id of the request that a line of a monitor log belongs to.
fn request(line: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        request_id: serde_json::Value,
    }
    let named: Named = serde_json::from_slice(line).ok()?;
    (!named.request_id.is_null()).then(|| named.request_id.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    const GROWS: Cutting = Cutting { line_limit: 16, ends: false, whole_requests: false };
    const ENDS: Cutting = Cutting { line_limit: 16, ends: true, whole_requests: false };

    fn cut_all(bytes: &[u8], cutting: Cutting) -> Cut {
        cut(&mut BufReader::with_capacity(3, bytes), false, cutting).unwrap()
    }

    #[test]
    fn lines_are_whole_and_halves_stay() {
        let cut = cut_all(b"\xef\xbb\xbf{\"a\":1}\r\n\n \n\0\0{\"b\":2}\n{\"c\"", GROWS);
        assert_eq!(std::str::from_utf8(&cut.body).unwrap(), "{\"a\":1}\n{\"b\":2}\n");
        assert_eq!((cut.lines, cut.half, cut.at_end), (2, 4, true));
        assert_eq!(cut.consumed, 3 + 9 + 1 + 2 + 10);
        let cut = cut_all(b"{\"a\":1}\n{\"c\"", ENDS);
        assert_eq!((cut.lines, cut.half, cut.consumed), (2, 0, 12));
        assert_eq!(cut_all(b"", ENDS), Cut { at_end: true, ..Cut::default() });
    }

    #[test]
    fn long_lines_are_passed_over_even_when_they_never_end() {
        let bytes = [b"a\n".as_slice(), &[b'x'; 100], b"\nb\n", &[b'y'; 50]].concat();
        let first = cut_all(&bytes, GROWS);
        assert_eq!((first.lines, first.too_long, first.in_long_line), (2, 2, true));
        assert_eq!(first.consumed, bytes.len() as u64, "what is too long is not kept for later");
        let rest = cut(&mut &b"yyy\nc\n"[..], true, GROWS).unwrap();
        assert_eq!((&rest.body[..], rest.too_long, rest.in_long_line), (&b"c\n"[..], 0, false));
        let exact = cut_all(b"0123456789abcdef\n0123456789abcdefg\n", GROWS);
        assert_eq!((exact.lines, exact.too_long), (1, 1));
    }

    #[test]
    fn lines_that_are_not_text_are_counted() {
        let cut = cut_all(b"ok\n\xff\xfe\nok\n", GROWS);
        assert_eq!((cut.lines, cut.not_utf8), (2, 1));
    }

    #[test]
    fn a_message_is_bounded() {
        let bytes = b"x\n".repeat(MAX_LINES + 5);
        let first = cut_all(&bytes, GROWS);
        assert_eq!((first.lines, first.at_end), (MAX_LINES, false));
        assert_eq!(first.consumed, 2 * MAX_LINES as u64);
        let wide = format!("{}\n", "y".repeat(MAX_BYTES / 2)).repeat(5);
        let first = cut(&mut wide.as_bytes(), false, Cutting { line_limit: MAX_BYTES, ..GROWS }).unwrap();
        assert_eq!(first.lines, 2);
    }

    #[test]
    fn the_rows_of_one_request_stay_together() {
        let cutting = Cutting { line_limit: 100, ends: false, whole_requests: true };
        let line = |id: u32, row: u32| format!("{{\"a\":{row},\"request_id\":\"{id}\"}}\n");
        let text = [line(1, 0), line(2, 0), line(2, 1)].concat();
        let first = cut_all(text.as_bytes(), cutting);
        assert_eq!((first.lines, first.consumed), (1, line(1, 0).len() as u64), "the second may go on");
        assert_eq!(cut_all(line(1, 0).as_bytes(), cutting).consumed, 0);
        let rest = cut_all(text.as_bytes(), Cutting { whole_requests: false, ..cutting });
        assert_eq!(rest.lines, 3);
        let many: String = (0..3000).map(|row| line(7, row)).collect::<String>() + &line(8, 0) + &line(9, 0);
        let cut = cut_all(many.as_bytes(), cutting);
        assert_eq!(cut.lines, 3000, "one request is one message");
        assert_eq!(std::str::from_utf8(cut.line(2999)).unwrap(), line(7, 2999));
    }

    proptest! {
        /// However a file grows under the reader, the lines are those of the whole file.
        #[test]
        fn growth_changes_nothing(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'\r'), any::<u8>()], 0..300),
            steps in proptest::collection::vec(1..40_usize, 1..12), capacity in 1..9_usize,
        ) {
            let cutting = Cutting { line_limit: 8, ..GROWS };
            let (mut lines, mut too_long, mut not_utf8) = (Vec::new(), 0, 0);
            let (mut at, mut in_long_line, mut size) = (0, false, 0);
            let sizes = steps.iter().map(|step| { size = bytes.len().min(size + step); size });
            for size in sizes.chain([bytes.len()]).collect::<Vec<_>>() {
                let mut reader = BufReader::with_capacity(capacity, &bytes[at..size]);
                let cut = cut(&mut reader, in_long_line, cutting).unwrap();
                lines.extend_from_slice(&cut.body);
                too_long += cut.too_long;
                not_utf8 += cut.not_utf8;
                in_long_line = cut.in_long_line;
                at += usize::try_from(cut.consumed).unwrap();
                prop_assert!(at <= size);
            }
            let whole = cut(&mut &bytes[..], false, cutting).unwrap();
            prop_assert_eq!(lines, whole.body);
            prop_assert_eq!((too_long, not_utf8), (whole.too_long, whole.not_utf8));
        }
    }
}
