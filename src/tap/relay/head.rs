//! Heads of HTTP/1 messages: read in place, judged strictly, and passed on byte for byte but for what belongs to one
//! connection.

use std::mem::MaybeUninit;

use httparse::{Error as ParseError, Header, Status};
use thiserror::Error;

use super::framing::Framing;
use crate::config;
use crate::tap::fields::Fields;

/// Why a head is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// It is not HTTP/1, or could be read in two ways.
    #[error("the head is malformed")]
    Malformed,
    /// It is longer than `tap.header_bytes`, or has more headers than `tap.header_count`.
    #[error("the head is too large")]
    TooLarge,
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        if error == ParseError::TooManyHeaders { Self::TooLarge } else { Self::Malformed }
    }
}

/// Room for the headers of one message.
pub(super) type Slots<'b> = [MaybeUninit<Header<'b>>];

/// Headers for which there is room without asking for memory.
const FEW: usize = 128;

/// Gives `read` room for as many headers as the settings allow.
pub(super) fn with_slots<'b, R>(tap: &config::Tap, read: impl FnOnce(&mut Slots<'b>) -> R) -> R {
    let most = usize::try_from(tap.header_count).unwrap_or(usize::MAX);
    // The shortest one has four bytes.
    let most = most.min(tap.header_bytes.0 / 4);
    if most <= FEW {
        read(&mut [const { MaybeUninit::uninit() }; FEW][..most])
    } else {
        let mut slots: Vec<MaybeUninit<Header<'b>>> =
            std::iter::repeat_with(MaybeUninit::uninit).take(most).collect();
        read(&mut slots)
    }
}

/// Whether a head of which the first `searched` bytes were found not to be whole may be whole now. Reading it again
/// with every byte that comes would take the square of its length.
pub(super) fn may_be_whole(bytes: &[u8], searched: usize) -> bool {
    let new = &bytes[searched.saturating_sub(3).min(bytes.len())..];
    searched == 0
        || new.windows(2).any(|two| two == b"\n\n")
        || new.windows(3).any(|three| three == b"\n\r\n")
}

/// A whole head of a request.
#[derive(Debug)]
pub(super) struct RequestHead<'h, 'b> {
    pub(super) method: &'b str,
    pub(super) target: &'b str,
    pub(super) is_http10: bool,
    pub(super) lines: Lines<'h, 'b>,
}

/// A whole head of an answer.
#[derive(Debug)]
pub(super) struct ResponseHead<'h, 'b> {
    pub(super) status: u16,
    pub(super) is_http10: bool,
    pub(super) lines: Lines<'h, 'b>,
}

/// The bytes of a head and where its headers are.
#[derive(Debug)]
pub(super) struct Lines<'h, 'b> {
    /// From the first byte of the start line to the end of the empty line.
    bytes: &'b [u8],
    /// With the empty lines before it.
    pub(super) length: usize,
    headers: &'h [Header<'b>],
    pub(super) facts: Facts,
}

/// What the headers say of the connection and of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a header of its own, in any combination")]
pub(super) struct Facts {
    pub(super) length: Option<u64>,
    /// `Transfer-Encoding` ends with `chunked`.
    pub(super) chunked: bool,
    /// There is a `Transfer-Encoding` at all.
    pub(super) encoded: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// `Connection` names `Upgrade`, and `Upgrade` names something else than `h2c`.
    pub(super) upgrade: bool,
    takes_trailers: bool,
    /// Some header belongs to this connection.
    hops: bool,
    /// `Connection` names headers that are known only by that.
    names_others: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Connection,
    ContentLength,
    Host,
    /// `Keep-Alive`, `Proxy-Connection`, `HTTP2-Settings`.
    Hop,
    Te,
    TransferEncoding,
    Upgrade,
    Other,
}

fn known(name: &str) -> Known {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 if is("te") => Known::Te,
        4 if is("host") => Known::Host,
        7 if is("upgrade") => Known::Upgrade,
        10 if is("connection") => Known::Connection,
        10 if is("keep-alive") => Known::Hop,
        14 if is("content-length") => Known::ContentLength,
        14 if is("http2-settings") => Known::Hop,
        16 if is("proxy-connection") => Known::Hop,
        17 if is("transfer-encoding") => Known::TransferEncoding,
        _ => Known::Other,
    }
}

fn trimmed(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

fn tokens(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trimmed).filter(|token| !token.is_empty())
}

/// Digits and nothing else, as one number.
fn number(value: &[u8]) -> Option<u64> {
    let value = trimmed(value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

impl Facts {
    fn of(headers: &[Header<'_>]) -> Result<Self, Refusal> {
        let mut facts = Self::default();
        let (mut upgrade_named, mut upgrade_offered) = (false, false);
        for header in headers {
            match known(header.name) {
                Known::Other | Known::Host => {}
                Known::ContentLength => {
                    let length = number(header.value).ok_or(Refusal::Malformed)?;
                    if facts.length.replace(length).is_some_and(|before| before != length) {
                        return Err(Refusal::Malformed);
                    }
                }
                Known::TransferEncoding => {
                    let mut codings = tokens(header.value);
                    let last = codings.next_back().ok_or(Refusal::Malformed)?;
                    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
                    // Nothing may follow the chunks, neither here nor in another header.
                    if facts.chunked || codings.any(is_chunked) {
                        return Err(Refusal::Malformed);
                    }
                    (facts.encoded, facts.chunked) = (true, is_chunked(last));
                }
                Known::Connection => {
                    facts.hops = true;
                    for token in tokens(header.value) {
                        if token.eq_ignore_ascii_case(b"close") {
                            facts.close = true;
                        } else if token.eq_ignore_ascii_case(b"keep-alive") {
                            facts.keep_alive = true;
                        } else if token.eq_ignore_ascii_case(b"upgrade") {
                            upgrade_named = true;
                        } else {
                            facts.names_others = true;
                        }
                    }
                }
                Known::Upgrade => {
                    facts.hops = true;
                    // A client that could be answered in HTTP/1 is, where its predictions can be read.
                    upgrade_offered |= !trimmed(header.value).eq_ignore_ascii_case(b"h2c");
                }
                Known::Te => {
                    facts.hops = true;
                    facts.takes_trailers |=
                        tokens(header.value).any(|token| token.eq_ignore_ascii_case(b"trailers"));
                }
                Known::Hop => facts.hops = true,
            }
        }
        facts.upgrade = upgrade_named && upgrade_offered;
        Ok(facts)
    }
}

/// Reads the head of a request; absent when it is not whole yet.
///
/// # Errors
///
/// Requests that two servers could read in two ways are refused: bare line feeds, folded lines, several lengths, a
/// length beside chunks, codings that do not end in chunks.
pub(super) fn read_request<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut Slots<'b>,
) -> Result<Option<RequestHead<'h, 'b>>, Refusal> {
    let mut request = httparse::Request::new(&mut []);
    let Status::Complete(length) = request.parse_with_uninit_headers(bytes, slots)? else { return Ok(None) };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::Malformed);
    };
    let facts = Facts::of(request.headers)?;
    let is_http10 = version == 0;
    if facts.encoded && (facts.length.is_some() || !facts.chunked || is_http10) {
        return Err(Refusal::Malformed);
    }
    let start = offset(bytes, method);
    let lines = Lines { bytes: &bytes[start..length], length, headers: request.headers, facts };
    if !lines.end_strictly() {
        return Err(Refusal::Malformed);
    }
    Ok(Some(RequestHead { method, target, is_http10, lines }))
}

/// Reads the head of an answer; absent when it is not whole yet.
///
/// # Errors
///
/// What is not HTTP/1, and lengths that are none or differ.
pub(super) fn read_response<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut Slots<'b>,
) -> Result<Option<ResponseHead<'h, 'b>>, Refusal> {
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, slots)?;
    let Status::Complete(length) = parsed else { return Ok(None) };
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(Refusal::Malformed);
    };
    let facts = Facts::of(response.headers)?;
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    let lines = Lines { bytes: &bytes[start..length], length, headers: response.headers, facts };
    Ok(Some(ResponseHead { status, is_http10: version == 0, lines }))
}

/// Where `part` begins within `bytes`, of which it is a part.
fn offset(bytes: &[u8], part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(bytes.as_ptr().addr()).min(bytes.len())
}

impl RequestHead<'_, '_> {
    /// How the body is delimited.
    pub(super) fn framing(&self) -> Framing {
        if self.lines.facts.chunked {
            Framing::chunked()
        } else {
            Framing::Length(self.lines.facts.length.unwrap_or(0))
        }
    }

    /// Path without the query, and the host that the target names if it is a whole address.
    pub(super) fn path_and_host(&self) -> (&str, Option<&str>) {
        let (rest, host) = match self.target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                (rest, Some(authority.rsplit('@').next().unwrap_or(authority)))
            }
            _ => (self.target, None),
        };
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let path = &rest[..end];
        (if path.is_empty() { "/" } else { path }, host)
    }
}

impl ResponseHead<'_, '_> {
    /// How the body of an answer to a request is delimited.
    pub(super) fn framing(&self, is_head: bool) -> Framing {
        let facts = &self.lines.facts;
        if is_head || matches!(self.status, 100..=199 | 204 | 304) {
            Framing::Length(0)
        } else if facts.chunked {
            Framing::chunked()
        } else if facts.encoded {
            Framing::UntilClose
        } else {
            facts.length.map_or(Framing::UntilClose, Framing::Length)
        }
    }
}

impl Lines<'_, '_> {
    /// Where header `at` begins; past the last one, where the empty line does.
    fn start_of(&self, at: usize) -> usize {
        let empty = if self.bytes.ends_with(b"\r\n") { 2 } else { 1 };
        match self.headers.get(at) {
            Some(header) => offset(self.bytes, header.name),
            None => self.bytes.len() - empty,
        }
    }

    fn end_strictly(&self) -> bool {
        (0..=self.headers.len()).all(|at| self.bytes[..self.start_of(at)].ends_with(b"\r\n"))
            && self.bytes.ends_with(b"\r\n\r\n")
    }

    /// Appends the head to `out` without its empty line: as it is, but for headers of the one connection. An upgrade
    /// keeps `Connection` and `Upgrade`.
    pub(super) fn pass(&self, out: &mut Vec<u8>, keep_upgrade: bool) {
        // Two lengths are how answers are split; chunks go before.
        let drop_length = self.facts.encoded && self.facts.length.is_some();
        let end = self.start_of(self.headers.len());
        if !self.facts.hops && !drop_length {
            out.extend_from_slice(&self.bytes[..end]);
            return;
        }
        out.extend_from_slice(&self.bytes[..self.start_of(0)]);
        let (mut is_first_connection, mut is_first_te) = (true, true);
        for (at, header) in self.headers.iter().enumerate() {
            let mut instead = None;
            let keeps = match known(header.name) {
                Known::Connection => {
                    instead = Some("Upgrade");
                    keep_upgrade && self.facts.upgrade && std::mem::take(&mut is_first_connection)
                }
                Known::Te => {
                    instead = Some("trailers");
                    self.facts.takes_trailers && std::mem::take(&mut is_first_te)
                }
                Known::Upgrade => keep_upgrade && self.facts.upgrade,
                Known::Hop => false,
                Known::ContentLength => !drop_length,
                // A message must not have its framing or its address taken away by what it says of itself.
                Known::Host | Known::TransferEncoding => true,
                Known::Other => !(self.facts.names_others && self.is_named(header.name)),
            };
            if !keeps {
                continue;
            }
            match instead {
                Some(value) if !trimmed(header.value).eq_ignore_ascii_case(value.as_bytes()) => {
                    add(out, header.name, value);
                }
                _ => out.extend_from_slice(&self.bytes[self.start_of(at)..self.start_of(at + 1)]),
            }
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.headers
            .iter()
            .filter(|header| known(header.name) == Known::Connection)
            .flat_map(|header| tokens(header.value))
            .any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Appends one header.
pub(super) fn add(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

impl Fields for Lines<'_, '_> {
    fn field(&self, name: &str) -> Option<&[u8]> {
        self.headers.field(name)
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.fields()
    }
}

impl Fields for [Header<'_>] {
    fn field(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter().map(|header| (header.name, header.value))
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
