//! Undoes `Content-Encoding` on the copy of a body, with a bound on what may come out.

use std::borrow::Cow;
use std::io::Read;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::read::Decoder as ZstdDecoder;

/// Codings that one body may be wrapped in.
const MAX_CODINGS: usize = 4;
/// What is reserved at a time, so that memory follows what comes out and not what a body says of itself.
const STEP: usize = 64 << 10;
/// Window of a zstd frame in powers of two: the 8 MiB that RFC 9659 allows on the web.
const ZSTD_WINDOW_LOG: u32 = 23;
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];

/// Why a body could not be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateProblem {
    /// A coding that is not known, or more codings than are undone.
    UnknownCoding,
    /// The compressed bytes are damaged, end too early, or are followed by others.
    Damaged,
    /// More than `limit` bytes came out.
    TooLarge {
        /// How many may come out.
        limit: usize,
    },
}

/// Undoes the codings that `content_encoding` lists, the last one first.
///
/// Gzip is also recognised where the header was lost on the way, which loggers do. At most `limit` bytes come out of
/// each coding.
///
/// # Errors
///
/// [`InflateProblem`]; nothing is given of a body that is damaged.
pub fn inflate<'b>(
    body: &'b [u8],
    content_encoding: Option<&str>,
    limit: usize,
) -> Result<Cow<'b, [u8]>, InflateProblem> {
    let mut inflated = Cow::Borrowed(body);
    let mut count = 0;
    for coding in content_encoding.unwrap_or("").rsplit(',') {
        let coding = coding.trim();
        if coding.is_empty() || coding.eq_ignore_ascii_case("identity") {
            continue;
        }
        count += 1;
        if count > MAX_CODINGS {
            return Err(InflateProblem::UnknownCoding);
        }
        let undo = decoder(coding).ok_or(InflateProblem::UnknownCoding)?;
        // Servers send an empty body with the header that the others have.
        if !inflated.is_empty() {
            inflated = Cow::Owned(undo(&inflated, limit)?);
        }
    }
    if count == 0 && body.starts_with(&GZIP_MAGIC) {
        match gzip(body, limit) {
            // Raw tensor data may begin like that.
            Err(InflateProblem::Damaged) => {}
            other => return other.map(Cow::Owned),
        }
    }
    Ok(inflated)
}

type Undo = fn(&[u8], usize) -> Result<Vec<u8>, InflateProblem>;

fn decoder(coding: &str) -> Option<Undo> {
    let known: [(&str, Undo); 6] = [
        ("gzip", gzip),
        ("x-gzip", gzip),
        ("deflate", deflate),
        ("br", brotli),
        ("zstd", zstandard),
        ("zst", zstandard),
    ];
    known.iter().find(|(name, _)| name.eq_ignore_ascii_case(coding)).map(|(_, undo)| *undo)
}

fn gzip(body: &[u8], limit: usize) -> Result<Vec<u8>, InflateProblem> {
    read_all(MultiGzDecoder::new(body), limit)
}

fn zstandard(body: &[u8], limit: usize) -> Result<Vec<u8>, InflateProblem> {
    let mut decoder = ZstdDecoder::with_buffer(body).map_err(|_| InflateProblem::Damaged)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| InflateProblem::Damaged)?;
    read_all(decoder, limit)
}

/// For readers that fail when their input ends too early.
fn read_all(reader: impl Read, limit: usize) -> Result<Vec<u8>, InflateProblem> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(most).read_to_end(&mut out).map_err(|_| InflateProblem::Damaged)?;
    if out.len() > limit { Err(InflateProblem::TooLarge { limit }) } else { Ok(out) }
}

/// The zlib format as the standard says, or bare deflate as some send it.
fn deflate(body: &[u8], limit: usize) -> Result<Vec<u8>, InflateProblem> {
    let is_zlib = matches!(body, [method, flags, ..]
        if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31));
    if is_zlib {
        match raw_inflate(body, true, limit) {
            Err(InflateProblem::Damaged) => {}
            other => return other,
        }
    }
    raw_inflate(body, false, limit)
}

fn raw_inflate(body: &[u8], zlib: bool, limit: usize) -> Result<Vec<u8>, InflateProblem> {
    let mut state = Decompress::new(zlib);
    let mut out = Vec::new();
    let mut rest = body;
    loop {
        let (before_in, before_out) = (state.total_in(), state.total_out());
        out.reserve(STEP.min(limit.saturating_add(1).saturating_sub(out.len()).max(1)));
        let status = state
            .decompress_vec(rest, &mut out, FlushDecompress::None)
            .map_err(|_| InflateProblem::Damaged)?;
        if out.len() > limit {
            return Err(InflateProblem::TooLarge { limit });
        }
        let taken = usize::try_from(state.total_in() - before_in).unwrap_or(usize::MAX);
        rest = rest.get(taken..).unwrap_or_default();
        match status {
            Status::StreamEnd if rest.is_empty() => return Ok(out),
            Status::StreamEnd => return Err(InflateProblem::Damaged),
            // Without progress the input has ended before the stream did.
            _ if taken == 0 && state.total_out() == before_out => return Err(InflateProblem::Damaged),
            _ => {}
        }
    }
}

fn brotli(body: &[u8], limit: usize) -> Result<Vec<u8>, InflateProblem> {
    // Strict: windows of up to 1 GiB, an extension, would be allocated at the word of the body.
    let mut state =
        BrotliState::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
    let mut out = Vec::new();
    let (mut available_in, mut input_at, mut written, mut total) = (body.len(), 0, 0, 0);
    loop {
        let room = STEP.min(limit.saturating_add(1).saturating_sub(out.len()).max(1));
        out.resize(out.len() + room, 0);
        let mut available_out = out.len() - written;
        let result = BrotliDecompressStream(
            &mut available_in,
            &mut input_at,
            body,
            &mut available_out,
            &mut written,
            &mut out,
            &mut total,
            &mut state,
        );
        out.truncate(written);
        if out.len() > limit {
            return Err(InflateProblem::TooLarge { limit });
        }
        match result {
            BrotliResult::ResultSuccess if available_in == 0 => return Ok(out),
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess | BrotliResult::ResultFailure | BrotliResult::NeedsMoreInput => {
                return Err(InflateProblem::Damaged);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &[u8] = br#"{"instances":[[1,2],[3,4]]}"#;
    /// `PLAIN` by Google's encoder, with a window of 4 MiB.
    const PLAIN_BROTLI: &str = "0b0d807b22696e7374616e636573223a5b5b312c325d2c5b332c345d5d7d03";
    /// A MiB of zeros by the same.
    const MEBIBYTE_BROTLI: &str = "5bffff8f7f02201e0b0472ef1f00";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn encode(coding: &str, bytes: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        match coding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            "deflate" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            "raw deflate" => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            "zstd" => zstd::stream::encode_all(bytes, 3).unwrap(),
            "br" if bytes == PLAIN => hex(PLAIN_BROTLI),
            other => panic!("{other}"),
        }
    }

    /// The codings as headers name them.
    const CODINGS: [&str; 5] = ["gzip", "deflate", "raw deflate", "zstd", "br"];

    fn header(coding: &str) -> &str {
        coding.trim_start_matches("raw ")
    }

    #[test]
    fn every_coding_is_undone() {
        for coding in CODINGS {
            let body = encode(coding, PLAIN);
            let name = header(coding);
            for name in [name.to_owned(), name.to_uppercase(), format!("identity, {name}")] {
                assert_eq!(inflate(&body, Some(&name), 100).unwrap(), PLAIN, "{coding} as {name}");
            }
        }
        for none in [None, Some(""), Some("identity"), Some(" , identity ")] {
            assert!(matches!(inflate(PLAIN, none, 1), Ok(Cow::Borrowed(PLAIN))), "{none:?}");
        }
        assert_eq!(inflate(b"", Some("gzip"), 1).unwrap(), b"".as_slice(), "nothing is not compressed");
    }

    #[test]
    fn stacked_codings_are_undone_from_the_last() {
        let body = encode("deflate", &encode("zstd", &encode("gzip", PLAIN)));
        assert_eq!(inflate(&body, Some("gzip, zstd, deflate"), 100).unwrap(), PLAIN);
        assert_eq!(inflate(&body, Some("deflate, zstd, gzip"), 100), Err(InflateProblem::Damaged));
        let many = (0..5).fold(PLAIN.to_vec(), |body, _| encode("gzip", &body));
        let header = "gzip,gzip,gzip,gzip,gzip";
        assert_eq!(inflate(&many, Some(header), 1000), Err(InflateProblem::UnknownCoding));
    }

    #[test]
    fn gzip_shows_where_the_header_was_lost() {
        let body = encode("gzip", PLAIN);
        assert_eq!(inflate(&body, None, 100).unwrap(), PLAIN);
        assert_eq!(inflate(&body, Some("identity"), 100).unwrap(), PLAIN);
        let alike = [&GZIP_MAGIC[..], &[0, 0, 128, 63]].concat();
        assert_eq!(inflate(&alike, None, 100).unwrap(), alike, "numbers may begin like it");
        assert_eq!(inflate(&alike, Some("gzip"), 100), Err(InflateProblem::Damaged));
        assert_eq!(inflate(PLAIN, Some("gzip"), 100), Err(InflateProblem::Damaged), "mislabelled");
        assert_eq!(inflate(PLAIN, Some("lzma"), 100), Err(InflateProblem::UnknownCoding));
    }

    #[test]
    fn several_members_are_one_body() {
        let body = [encode("gzip", b"ab"), encode("gzip", b"cd")].concat();
        assert_eq!(inflate(&body, Some("gzip"), 100).unwrap(), b"abcd".as_slice());
        let body = [encode("zstd", b"ab"), encode("zstd", b"cd")].concat();
        assert_eq!(inflate(&body, Some("zstd"), 100).unwrap(), b"abcd".as_slice());
    }

    #[test]
    fn a_body_that_is_cut_is_damaged() {
        for coding in CODINGS {
            let body = encode(coding, PLAIN);
            for end in 1..body.len() {
                let outcome = inflate(&body[..end], Some(header(coding)), 100);
                assert_eq!(outcome, Err(InflateProblem::Damaged), "{coding} {end}");
            }
            let followed = [&body[..], b"more"].concat();
            let outcome = inflate(&followed, Some(header(coding)), 100);
            assert_eq!(outcome, Err(InflateProblem::Damaged), "{coding} with more behind it");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let mebibyte = vec![0; 1 << 20];
        let bombs = [
            ("gzip", encode("gzip", &mebibyte)),
            ("deflate", encode("deflate", &mebibyte)),
            ("deflate", encode("raw deflate", &mebibyte)),
            ("zstd", encode("zstd", &mebibyte)),
            ("br", hex(MEBIBYTE_BROTLI)),
            ("gzip,gzip", encode("gzip", &encode("gzip", &mebibyte))),
        ];
        for (coding, bomb) in bombs {
            assert!(bomb.len() < 2000, "{coding}");
            assert_eq!(inflate(&bomb, Some(coding), 1 << 20).unwrap(), mebibyte, "{coding}");
            for limit in [0, 1, 65_536, (1 << 20) - 1] {
                let outcome = inflate(&bomb, Some(coding), limit);
                // The outer coding of two may not even have room for the inner one.
                assert_eq!(outcome, Err(InflateProblem::TooLarge { limit }), "{coding} {limit}");
            }
        }
    }

    #[test]
    fn windows_beyond_what_the_web_allows_are_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![7; 9 << 20]).unwrap();
        let body = encoder.finish().unwrap();
        assert_eq!(inflate(&body, Some("zstd"), usize::MAX), Err(InflateProblem::Damaged));
        // The large-window extension of brotli, with 30 bits.
        assert_eq!(inflate(&[0x11, 0x1e, 0, 0, 0, 0], Some("br"), 100), Err(InflateProblem::Damaged));
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(
            bytes in proptest::collection::vec(any::<u8>(), 1..2000),
            coding in proptest::sample::select(&CODINGS[..4]),
        ) {
            let body = encode(coding, &bytes);
            let inflated = inflate(&body, Some(header(coding)), bytes.len());
            prop_assert_eq!(inflated.as_deref(), Ok(bytes.as_slice()));
            let short = inflate(&body, Some(header(coding)), bytes.len() - 1);
            prop_assert_eq!(short, Err(InflateProblem::TooLarge { limit: bytes.len() - 1 }));
        }

        #[test]
        fn any_bytes_are_inflated_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            coding in proptest::sample::select(&["gzip", "deflate", "zstd", "br", "br,zstd"]),
        ) {
            if let Ok(inflated) = inflate(&bytes, Some(coding), 500) {
                prop_assert!(inflated.len() <= 500);
            }
        }
    }
}
