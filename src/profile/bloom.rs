//! Membership among very many names in a few bytes each: a Bloom filter that grows in layers.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

use super::hash::mix;

/// Names that the first layer is made for; each further one holds twice as many.
const FIRST_LAYER: u64 = 200_000;

/// Layers after which the filter no longer grows and its error does: some 25 million names, 100 MB.
const MAX_LAYERS: usize = 7;

/// Wrong answers of the first layer; each further one gives half as many, so that all together stay under 1e-4.
const FIRST_ERROR: f64 = 5e-5;

/// Hash functions of any layer at most, whatever a file says.
const MAX_FUNCTIONS: u32 = 64;

/// A set of hashes that may take a stranger for a member, one in ten thousand times, but never misses a member.
///
/// # Source
///
/// Bloom (1970), doi:10.1145/362686.362692; the growing sequence after Almeida, Baquero, Preguiça and Hutchison (2007),
/// doi:10.1016/j.ipl.2006.10.007.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Bloom {
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Layer {
    /// Members.
    held: u64,
    /// Hash functions.
    functions: u32,
    #[serde(with = "words")]
    words: Vec<u64>,
}

impl Layer {
    fn number(index: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let functions = (-(FIRST_ERROR * 0.5_f64.powf(f64::from(index))).log2()).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "fifteen and a few more")]
        let functions = functions as u32;
        let names = FIRST_LAYER << index.min(32);
        let bits = (names as f64 * f64::from(functions) / LN_2).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2^30")]
        let words = vec![0; bits as usize / 64 + 1];
        Self { held: 0, functions, words }
    }

    /// Names it can hold at the error it was made for.
    fn capacity(&self) -> f64 {
        self.words.len() as f64 * 64.0 * LN_2 / f64::from(self.functions.max(1))
    }

    /// The places of a hash, by double hashing (Kirsch and Mitzenmacher, 2006).
    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let (step, bits) = (mix(hash) | 1, self.words.len() as u64 * 64);
        (0..u64::from(self.functions.min(MAX_FUNCTIONS))).map(move |i| {
            let bit = hash.wrapping_add(i.wrapping_mul(step)) % bits;
            let word = (bit / 64) as usize;
            (word, 1 << (bit % 64))
        })
    }

    fn contains(&self, hash: u64) -> bool {
        !self.words.is_empty() && self.places(hash).all(|(word, bit)| self.words[word] & bit != 0)
    }
}

impl Bloom {
    /// Adds the name with this hash.
    pub(crate) fn insert(&mut self, hash: u64) {
        if self.contains(hash) {
            return;
        }
        let full = self.layers.last().is_none_or(|layer| layer.held as f64 >= layer.capacity());
        if full && self.layers.len() < MAX_LAYERS {
            self.layers.push(Layer::number(self.layers.len()));
        }
        if let Some(layer) = self.layers.last_mut() {
            let places: Vec<(usize, u64)> = layer.places(hash).collect();
            for (word, bit) in places {
                layer.words[word] |= bit;
            }
            layer.held += 1;
        }
    }

    /// Whether the name with this hash was added, or is taken for one.
    pub fn contains(&self, hash: u64) -> bool {
        self.layers.iter().any(|layer| layer.contains(hash))
    }

    /// About how many names were added.
    pub fn len(&self) -> u64 {
        self.layers.iter().map(|layer| layer.held).sum()
    }

    /// Whether no name was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The probability that a stranger is taken for a member, from how full the layers are.
    pub fn error(&self) -> f64 {
        let missed: f64 = self
            .layers
            .iter()
            .map(|layer| {
                let set: u64 = layer.words.iter().map(|word| u64::from(word.count_ones())).sum();
                let full = set as f64 / (layer.words.len() as f64 * 64.0).max(1.0);
                1.0 - full.powf(f64::from(layer.functions))
            })
            .product();
        1.0 - missed
    }

    /// Adds the names of `other`: its layers are kept beside the own ones.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.layers.splice(0..0, other.layers.iter().cloned());
    }
}

/// Words as base64 of their little-endian bytes.
mod words {
    use serde::{Deserializer, Serializer, de};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::Deserialize;

    pub(super) fn serialize<S: Serializer>(words: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let bytes = STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)?;
        let (words, rest) = bytes.as_chunks::<8>();
        if rest.is_empty() {
            Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
        } else {
            Err(de::Error::custom("a filter of a broken number of bytes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_strangers_rarely() {
        let mut bloom = Bloom::default();
        for name in 0..300_000_u64 {
            bloom.insert(mix(name + 1));
        }
        assert!((0..300_000).all(|name| bloom.contains(mix(name + 1))));
        let strangers = (1_000_000..1_200_000).filter(|&name| bloom.contains(mix(name + 1))).count();
        assert!(strangers < 40, "{strangers} of 200,000");
        assert!(bloom.error() < 1e-4, "{}", bloom.error());
        assert_eq!((bloom.layers.len(), bloom.len() > 299_900), (2, true));
    }

    #[test]
    fn merging_keeps_every_member() {
        let of = |range: std::ops::Range<u64>| {
            let mut bloom = Bloom::default();
            range.for_each(|name| bloom.insert(mix(name + 1)));
            bloom
        };
        let mut merged = of(0..100);
        merged.merge(&of(100..200));
        assert!((0..200).all(|name| merged.contains(mix(name + 1))));
        assert!(!Bloom::default().contains(1) && Bloom::default().is_empty());
    }
}
