//! Integration tests: real databases, real mail servers, real sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod alerts;
mod smtp;
mod support;
