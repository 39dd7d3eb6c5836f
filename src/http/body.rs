//! Bodies of posted messages: bounded in length, in time, and by the room that is left for messages.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;

use super::ApiError;
use crate::tap::ingest::{IngestError, Room};

/// How long a body may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// What begins a gzip body; loggers lose the header that says so.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes that a body may have per byte that it may arrive with.
const INFLATES_BY: usize = 8;

/// A message for which there is no room, or nobody to store it.
pub(super) fn turned_away(error: IngestError) -> ApiError {
    match error {
        IngestError::Busy => ApiError::Busy("too much waits for the database, try again"),
        IngestError::Closed => ApiError::Busy("driftline is shutting down, try again"),
    }
}

/// Reads `body` up to `limit` bytes, taking room as it arrives.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    room: &mut Room,
) -> Result<Bytes, ApiError> {
    let length: Option<usize> = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(ApiError::TooLarge(limit));
    }
    tokio::time::timeout(ARRIVES_WITHIN, collect(body, limit, room))
        .await
        .map_err(|_| ApiError::TooSlow(ARRIVES_WITHIN.as_secs()))?
}

async fn collect(mut body: Body, limit: usize, room: &mut Room) -> Result<Bytes, ApiError> {
    let mut first: Option<Bytes> = None;
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::bad_request("the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.as_ref().map_or(collected.len(), Bytes::len) + data.len() > limit {
            return Err(ApiError::TooLarge(limit));
        }
        room.grow(data.len()).map_err(turned_away)?;
        // Most bodies come in one piece, which is used as it is.
        if first.is_none() && collected.is_empty() {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            collected.extend_from_slice(&first);
        }
        collected.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| collected.freeze()))
}

/// The body without gzip, told by its first bytes or by `Content-Encoding`; at most eight times `limit` comes out.
pub(super) fn inflate(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, ApiError> {
    let coding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("").trim();
    if !body.starts_with(&GZIP) {
        return match coding.to_ascii_lowercase().as_str() {
            "" | "identity" | "gzip" | "x-gzip" => Ok(body),
            _ => Err(ApiError::bad_request("`Content-Encoding` is neither `gzip` nor `identity`")),
        };
    }
    let most = limit.saturating_mul(INFLATES_BY);
    let mut inflated = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(&*body)
        .take(bound)
        .read_to_end(&mut inflated)
        .map_err(|_| ApiError::bad_request("the gzip body is damaged"))?;
    if inflated.len() > most { Err(ApiError::TooLarge(most)) } else { Ok(inflated.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn gzip_is_told_by_its_first_bytes_and_bounded() {
        let none = HeaderMap::new();
        let said = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        let brotli = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("br"))]);
        for headers in [&none, &said] {
            assert_eq!(inflate(headers, gzip(b"[1]"), 100).unwrap(), "[1]");
            assert_eq!(inflate(headers, Bytes::from_static(b"[1]"), 100).unwrap(), "[1]");
        }
        assert!(matches!(inflate(&brotli, Bytes::from_static(b"[1]"), 9), Err(ApiError::BadRequest { .. })));
        assert!(matches!(inflate(&none, gzip(&[0; 801]), 100), Err(ApiError::TooLarge(800))));
        assert_eq!(inflate(&none, gzip(&[0; 800]), 100).unwrap().len(), 800);
        let mut cut = gzip(b"hello").to_vec();
        cut.truncate(12);
        assert!(matches!(inflate(&none, cut.into(), 100), Err(ApiError::BadRequest { .. })));
    }
}
