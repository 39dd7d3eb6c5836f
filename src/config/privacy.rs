//! Settings of what is dropped, hashed or masked before anything is kept.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::ModelSettings;
use crate::model::FeatureKind;
use crate::privacy::{Fields, Ids, MaskRule, Rules};

/// What is dropped, hashed or masked before profile, capture, log or trace can see it; for all models, and in a model's
/// own section for that model beside what is said for all.
///
/// A listed field means every column of that name, also as a part of a nested path (`customer` means `order.customer.name`
/// and `customer[3]`), without regard to capitals; `*` stands for any characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Privacy {
    /// Fields that are left out.
    pub drop: Vec<String>,
    /// Fields whose values are replaced by a keyed hash, the same for the same value; they are categorical.
    pub hash: Vec<String>,
    /// What is replaced by its name in brackets wherever it occurs in texts, names of columns and versions: `email`,
    /// `phone`, `card`, or a `name` with a `pattern` (a regular expression); with `columns` only in those. An id in which
    /// one is found is hashed.
    pub mask: Vec<Mask>,
    /// `hash`: ids of predictions are hashed, and labels find them all the same; by default `keep`.
    pub ids: Option<KeepOrHash>,
    /// File with the keys of hashes, one per line: the first is used, those below it keep old joins.
    pub key_file: Option<PathBuf>,
}

/// What becomes of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepOrHash {
    /// Kept as they came.
    Keep,
    /// Replaced by a keyed hash.
    Hash,
}

/// One mask: a word, or a name with what it looks for and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(pub MaskRule);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullMask {
    name: String,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    columns: Vec<String>,
}

impl<'de> Deserialize<'de> for Mask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrFull)
    }
}

/// Reads a mask; an untagged enum would not say what is wrong with one.
struct WordOrFull;

impl<'de> Visitor<'de> for WordOrFull {
    type Value = Mask;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`email`, `phone`, `card` or {name: …, pattern: …}")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Mask, E> {
        match word {
            "email" | "phone" | "card" => Ok(Mask(MaskRule::built_in(word))),
            _ => Err(E::custom(format!(
                "`{word}` is not `email`, `phone` or `card`; a pattern of your own is {{name: …, pattern: …}}"
            ))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Mask, A::Error> {
        let full = FullMask::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Mask(MaskRule { name: full.name, pattern: full.pattern, columns: full.columns }))
    }
}

impl Privacy {
    /// What holds for one model: these settings for all models, and its own beside them.
    pub fn rules_with(&self, own: &Self) -> Rules {
        let both = |all: &[String], own: &[String]| {
            let mut names = all.to_vec();
            names.extend(own.iter().filter(|name| !all.contains(name)).cloned());
            names
        };
        let mut mask: Vec<MaskRule> = self.mask.iter().map(|mask| mask.0.clone()).collect();
        mask.extend(
            own.mask
                .iter()
                .map(|mask| mask.0.clone())
                .filter(|own| !self.mask.iter().any(|all| all.0 == *own)),
        );
        let ids = match own.ids.or(self.ids) {
            Some(KeepOrHash::Hash) => Ids::Hash,
            Some(KeepOrHash::Keep) | None => Ids::Keep,
        };
        Rules { drop: both(&self.drop, &own.drop), hash: both(&self.hash, &own.hash), mask, ids }
    }

    /// What is wrong with these settings, and with those of each model together with them.
    pub(super) fn contradictions(&self, models: &[ModelSettings]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut add = |place: &str, found: Vec<String>| {
            problems.extend(found.into_iter().map(|problem| format!("{place}: {problem}")));
        };
        let check = |all: &Self, own: &Self| {
            let rules = all.rules_with(own);
            let mut found = rules.problems();
            if rules.needs_key() && own.key_file.is_none() && all.key_file.is_none() {
                found
                    .push("hashing needs a `key_file`; make a key with `openssl rand -base64 32`".to_owned());
            }
            (rules, found)
        };
        let (_, for_all) = check(self, &Self::default());
        add("`privacy`", for_all.clone());
        for model in models {
            let own = model.privacy.clone().unwrap_or_default();
            let (rules, mut found) = check(self, &own);
            found.retain(|problem| !for_all.contains(problem));
            let hashed = Fields::new(&rules.hash);
            found.extend(
                model
                    .kinds
                    .iter()
                    .filter(|(name, kind)| **kind != FeatureKind::Categorical && hashed.matches(name))
                    .map(|(name, kind)| {
                        format!("`{name}` is hashed and thus categorical, but `kinds` says {}", kind.as_str())
                    }),
            );
            add(&format!("model `{}`, `privacy`", model.name), found);
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;
    use crate::privacy::Ids;

    fn refused(text: &str) -> String {
        Settings::parse(text, "driftline.yaml").unwrap_err().to_string()
    }

    #[test]
    fn a_model_adds_to_what_is_said_for_all() {
        let text = "privacy:\n  drop: [name]\n  mask: [email, {name: iban, pattern: 'DE[0-9]{20}', columns: [notes]}]\n  \
                    key_file: keys\nmodels:\n  - name: m\n    privacy:\n      drop: [name, street]\n      hash: [customer]\n      \
                    mask: [email, card]\n      ids: hash\n  - name: other\n";
        let settings = Settings::parse(text, "driftline.yaml").unwrap();
        let of = |at: usize| {
            let own = settings.models[at].privacy.clone().unwrap_or_default();
            settings.privacy.rules_with(&own)
        };
        assert_eq!(of(0).drop, ["name", "street"]);
        assert_eq!((of(0).hash, of(0).ids), (vec!["customer".to_owned()], Ids::Hash));
        assert_eq!(
            of(0).mask.iter().map(|mask| mask.name.as_str()).collect::<Vec<_>>(),
            ["email", "iban", "card"]
        );
        assert_eq!((of(1).hash.len(), of(1).ids, of(1).mask.len()), (0, Ids::Keep, 2));
    }

    #[test]
    fn contradictions_are_reported_together_with_their_place() {
        let text = "privacy:\n  drop: [name]\n  mask: [{name: odd, pattern: 'a('}]\nmodels:\n  - name: m\n    kinds: {customer: numeric}\n    \
                    privacy:\n      hash: [Name, customer]\n";
        let said = refused(text);
        for words in [
            "`privacy`: `mask[0]` (`odd`): unclosed group",
            "model `m`, `privacy`: `name` is both in `drop` and in `hash`",
            "model `m`, `privacy`: hashing needs a `key_file`",
            "`customer` is hashed and thus categorical, but `kinds` says numeric",
        ] {
            assert!(said.contains(words), "{words}\n{said}");
        }
        assert_eq!(said.matches("unclosed group").count(), 1, "{said}");
    }

    #[test]
    fn masks_are_words_or_patterns() {
        for (mask, words) in [
            ("e-mail", "is not `email`, `phone` or `card`"),
            ("{name: own}", "need a `pattern`"),
            ("{name: email, pattern: x}", "built-in"),
            ("{name: 'a b', pattern: x}", "1 to 32 letters"),
            ("{name: x, pattern: x}", "takes the place"),
            ("{name: own, pattern: 'x*'}", "empty text"),
            ("{name: own, pattern: x, column: y}", "unknown field `column`"),
            ("7", "`email`, `phone`, `card` or"),
        ] {
            let said = refused(&format!("privacy:\n  mask: [{mask}]\n"));
            assert!(said.contains(words), "{mask}: {said}");
        }
        let twice = refused("privacy:\n  mask: [email, {name: email, columns: [a]}]\n");
        assert!(twice.contains("listed twice"), "{twice}");
    }
}
