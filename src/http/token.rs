//! Who may post to the sink: tokens, of which only hashes are kept.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::ApiError;

/// The SHA-256 of every token that is let in; without any, everybody is.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// Reads one hash a line, in hexadecimal; empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    ///
    /// The line that is no hash, or that there is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut hashes = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let hash = hash(line.strip_prefix("sha256:").unwrap_or(line));
            let wrong = || {
                let number = number + 1;
                format!(
                    "line {number} is not the SHA-256 of a token; make it with `printf %s TOKEN | sha256sum`"
                )
            };
            hashes.push(hash.ok_or_else(wrong)?);
        }
        if hashes.is_empty() { Err("it holds no token".to_owned()) } else { Ok(Self(hashes)) }
    }

    /// Whether `token` is one of them; takes as long for any token.
    fn knows(&self, token: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = false;
        for hash in &self.0 {
            let differing = hash.iter().zip(&given).fold(0, |bits, (a, b)| bits | (a ^ b));
            found |= differing == 0;
        }
        found
    }

    fn admit(&self, authorization: Option<&str>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        authorization.and_then(credential).is_some_and(|token| self.knows(&token))
    }
}

/// The token of an `Authorization` header: a bearer's, or the password of `Basic`, as clients that know only a URL send
/// it; the user does not matter.
pub(super) fn credential(authorization: &str) -> Option<String> {
    let (scheme, value) = authorization.trim().split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

fn hash(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Lets a request pass that has a token, before any of its body is read.
pub(super) async fn check(State(tokens): State<Arc<Tokens>>, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if tokens.admit(authorization) { next.run(request).await } else { ApiError::Unauthorized.into_response() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_tokens_are_let_in() {
        // printf %s secret | sha256sum
        let secret = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let tokens = Tokens::parse(&format!("# loggers\n\nsha256:{secret}\n{}\n", "0".repeat(64))).unwrap();
        for (authorization, admitted) in [
            (Some("Bearer secret"), true),
            (Some("bearer  secret "), true),
            (Some("Basic bG9nZ2VyOnNlY3JldA=="), true),
            (Some("Basic bG9nZ2VyOm90aGVy"), false),
            (Some("Basic !"), false),
            (Some("Bearer Secret"), false),
            (Some("Bearer"), false),
            (Some("Digest secret"), false),
            (Some("secret"), false),
            (None, false),
        ] {
            assert_eq!(tokens.admit(authorization), admitted, "{authorization:?}");
        }
        assert!(Tokens::default().admit(None), "a loopback sink without tokens");
        for bad in ["", "# none\n", "secret\n", "2bb8\n"] {
            assert!(Tokens::parse(bad).is_err(), "{bad}");
        }
    }
}
