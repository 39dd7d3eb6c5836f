//! Tokens and session ids: 256 random bits, of which only hashes are kept.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::retrain::artifact::hex;
use crate::store::token::Hash;

/// Begins every token, so that scanners for secrets find one that was published.
const PREFIX: &str = "dlt_";

/// 256 random bits as text. It shows itself only when it is asked to, and never in a log.
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A new one.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn new() -> anyhow::Result<Self> {
        let mut bits = [0; 32];
        let provider = rustls::crypto::ring::default_provider();
        provider
            .secure_random
            .fill(&mut bits)
            .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits))))
    }

    /// The text itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> Hash {
        hash(&self.0)
    }

    /// What forms carry that belong to it.
    pub(super) fn csrf(&self) -> String {
        csrf(&self.0)
    }
}

/// SHA-256; a secret of 256 random bits needs no salt and no slow hash.
pub(super) fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// Derived from a session's id, which cannot be told from it.
pub(super) fn csrf(session: &str) -> String {
    hex(&Sha256::digest(format!("driftline csrf\n{session}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_do_not_show_themselves() {
        let (a, b) = (Secret::new().unwrap(), Secret::new().unwrap());
        assert_ne!(a.expose(), b.expose());
        assert_eq!(a.expose().len(), PREFIX.len() + 43);
        assert_eq!(format!("{a:?}"), "Secret(..)");
        assert_ne!(a.hash(), b.hash());
        assert_ne!(a.csrf(), hex(&a.hash()));
    }
}
