//! The keys of hashed fields and ids: read from a file, rotated without losing old joins.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;

/// Fewest bytes of a key.
pub const MIN_KEY_BYTES: usize = 16;
/// Most keys of a file: the current one and those that old rows were hashed with.
pub const MAX_KEYS: usize = 16;
/// What every hash starts with; another form would have another number.
const FORM: &str = "h1:";
/// Characters of a key's short name.
const NAME_CHARS: usize = 6;
/// Bytes of the code that are kept: 96 bits, so that two of a billion values collide with a chance of 10^-11.
const CODE_BYTES: usize = 12;
/// Characters of those bytes as text.
const CODE_CHARS: usize = 16;

/// Why a key file was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct BadKeys {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it and what to do; never the key.
    pub problem: String,
}

#[derive(Clone)]
struct Key {
    /// Says which key a hash was made with, and nothing about it.
    name: String,
    mac: Hmac<Sha256>,
}

impl Key {
    fn new(bytes: &[u8]) -> Option<Self> {
        let mac = Hmac::<Sha256>::new_from_slice(bytes).ok()?;
        let mut named = mac.clone();
        // Apart from every value: no value starts with a zero byte and these words.
        named.update(b"\0the name of this key");
        let code = named.finalize().into_bytes();
        let number = code.iter().take(3).fold(0_u32, |number, &byte| number << 8 | u32::from(byte));
        Some(Self { name: format!("{number:06x}"), mac })
    }
}

/// Keys, the current one first. Its debug form names them and shows nothing of them.
#[derive(Clone)]
pub struct Keys(Vec<Key>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Keys {
    /// Reads the text of a key file: one key per line, the current one first, older ones below it; empty lines and
    /// lines that start with `#` say nothing.
    ///
    /// # Errors
    ///
    /// [`BadKeys`] with the line and the remedy.
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let mut keys: Vec<(usize, Key)> = Vec::new();
        let remedy = "make one with `openssl rand -base64 32`";
        for (at, line) in text.lines().enumerate() {
            let line_number = at + 1;
            let refuse = |problem: String| Err(BadKeys { line: line_number, problem });
            let line = line.trim().trim_start_matches('\u{feff}');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.len() < MIN_KEY_BYTES {
                return refuse(format!("a key has at least {MIN_KEY_BYTES} bytes; {remedy}"));
            }
            let Some(key) = Key::new(line.as_bytes()) else {
                return refuse(format!("this is no key; {remedy}"));
            };
            if let Some((first, _)) = keys.iter().find(|(_, held)| held.name == key.name) {
                return refuse(format!("this key stands on line {first} too; delete one of them"));
            }
            if keys.len() == MAX_KEYS {
                return refuse(format!("there are more than {MAX_KEYS} keys; delete the oldest"));
            }
            keys.push((line_number, key));
        }
        if keys.is_empty() {
            return Err(BadKeys { line: 1, problem: format!("there is no key in this file; {remedy}") });
        }
        Ok(Self(keys.into_iter().map(|(_, key)| key).collect()))
    }

    /// One key out of `secret`, for a process that has no key file.
    pub(super) fn of_process(secret: &[u8]) -> Self {
        Self(Key::new(secret).into_iter().collect())
    }

    /// The short names, the current key's first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.name.as_str())
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of the key that `hash` was made with, if `hash` has the form of one and the key is held.
    pub(super) fn key_of(&self, hash: &str) -> Option<usize> {
        let name = key_name(hash)?;
        self.0.iter().position(|key| key.name == name)
    }

    /// `value` hashed with the key at `at`; a hash of a held key stays as it is, so that hashing twice is harmless.
    pub(super) fn hash(&self, at: usize, value: &str) -> String {
        if self.key_of(value).is_some() {
            return value.to_owned();
        }
        let Some(key) = self.0.get(at).or_else(|| self.0.first()) else { return FORM.to_owned() };
        let mut mac = key.mac.clone();
        mac.update(value.as_bytes());
        let code = mac.finalize().into_bytes();
        let mut hash = String::with_capacity(FORM.len() + NAME_CHARS + 1 + CODE_CHARS);
        hash.push_str(FORM);
        hash.push_str(&key.name);
        hash.push(':');
        URL_SAFE_NO_PAD.encode_string(&code[..CODE_BYTES], &mut hash);
        hash
    }
}

/// The name of the key in `hash`, if it has the form of a hash.
pub(super) fn key_name(hash: &str) -> Option<&str> {
    let (name, code) = hash.strip_prefix(FORM)?.split_once(':')?;
    let is_name = name.len() == NAME_CHARS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_code = code.len() == CODE_CHARS
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (is_name && is_code).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "correct horse battery staple";
    const SECOND: &str = "4mQ8d0V3Jz0vQ2m1k9n7bA==";

    #[test]
    fn the_first_line_is_current_and_the_others_keep_old_joins() {
        let old = Keys::parse(FIRST).unwrap();
        let rotated = Keys::parse(&format!("# rotated in March\n{SECOND}\n\n  {FIRST}  \n")).unwrap();
        let before = old.hash(0, "alice");
        assert_ne!(rotated.hash(0, "alice"), before);
        assert_eq!(rotated.hash(1, "alice"), before);
        assert_eq!((rotated.key_of(&before), old.key_of(&rotated.hash(0, "alice"))), (Some(1), None));
        assert_eq!(rotated.hash(0, &before), before, "hashing twice is harmless");
    }

    #[test]
    fn a_hash_is_hmac_sha_256_and_shows_nothing() {
        // Computed with Python's `hmac` module.
        let keys = Keys::parse(FIRST).unwrap();
        assert_eq!(keys.hash(0, "alice"), "h1:f291f3:cTu65x4uI62IpkXf");
        let shown = format!("{keys:?} {}", keys.hash(0, "alice"));
        assert!(!shown.contains("horse") && !shown.contains("alice"), "{shown}");
    }

    #[test]
    fn only_the_form_of_a_hash_is_one() {
        assert_eq!(key_name("h1:0123ab:ABCDEFGHIJKLMN-_"), Some("0123ab"));
        for other in
            ["h1:0123ab:short", "h1:0123zz:ABCDEFGHIJKLMNOP", "h2:0123ab:ABCDEFGHIJKLMNOP", "h1:", ""]
        {
            assert_eq!(key_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_bad_key_file_is_refused_with_its_line() {
        let many = (0..=MAX_KEYS).map(|at| format!("{FIRST}{at}")).collect::<Vec<_>>().join("\n");
        for (text, line, words) in [
            ("", 1, "no key"),
            ("# only words\n\n", 1, "no key"),
            ("\n# current\nshort\n", 3, "at least 16 bytes"),
            (&format!("{FIRST}\n{SECOND}\n{FIRST}"), 3, "line 1 too"),
            (&many, MAX_KEYS + 1, "more than 16 keys"),
        ] {
            let problem = Keys::parse(text).unwrap_err();
            assert_eq!(problem.line, line, "{text}");
            assert!(problem.problem.contains(words), "{problem}");
            assert!(!problem.problem.contains("short") && !problem.problem.contains("horse"), "{problem}");
        }
    }
}
