//! JSON lines split into blocks of lines; a line is an object whose keys are columns.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::FrameError;
use super::rows::{BLOCK_BYTES, BLOCK_ROWS, Block, Blocks, Place, Scalar};

/// A file of JSON lines being split.
pub(super) struct JsonBlocks {
    file: Arc<Lines>,
    reader: BufReader<File>,
    line: u64,
    position: u64,
}

/// What all blocks of a file share.
struct Lines {
    path: PathBuf,
    names: Vec<String>,
    place: HashMap<String, usize>,
}

/// Some lines, one after the other.
pub(super) struct JsonBlock {
    file: Arc<Lines>,
    bytes: Vec<u8>,
    /// End of each line, and its number in the file.
    ends: Vec<(usize, u64)>,
}

impl JsonBlocks {
    pub(super) fn open(path: &Path, names: &[&str]) -> Result<Self, FrameError> {
        let reader = File::open(path)
            .map(|file| BufReader::with_capacity(1 << 20, file))
            .map_err(|source| FrameError::Open { path: path.to_owned(), source })?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let place = names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        Ok(Self {
            file: Arc::new(Lines { path: path.to_owned(), names, place }),
            reader,
            line: 0,
            position: 0,
        })
    }
}

impl Blocks for JsonBlocks {
    type Block = JsonBlock;

    fn next_block(&mut self) -> Result<Option<JsonBlock>, FrameError> {
        let mut block = JsonBlock { file: Arc::clone(&self.file), bytes: Vec::new(), ends: Vec::new() };
        while block.ends.len() < BLOCK_ROWS && block.bytes.len() < BLOCK_BYTES {
            let start = block.bytes.len();
            let read = self
                .reader
                .read_until(b'\n', &mut block.bytes)
                .map_err(|source| FrameError::Open { path: self.file.path.clone(), source })?;
            if read == 0 {
                break;
            }
            self.line += 1;
            self.position += read as u64;
            if block.bytes[start..].trim_ascii().is_empty() {
                block.bytes.truncate(start);
            } else {
                block.ends.push((block.bytes.len(), self.line));
            }
        }
        Ok((!block.ends.is_empty()).then_some(block))
    }

    fn position(&self) -> u64 {
        self.position
    }
}

impl Block for JsonBlock {
    fn rows(&self) -> usize {
        self.ends.len()
    }

    fn parse(&self, row: usize, each: &mut dyn FnMut(Place<'_>, Scalar<'_>)) -> Result<(), FrameError> {
        let start = if row == 0 { 0 } else { self.ends[row - 1].0 };
        let (end, line) = self.ends[row];
        let mut deserializer = serde_json::Deserializer::from_slice(&self.bytes[start..end]);
        let parsed =
            Row { file: &self.file, each }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        parsed.map_err(|error| {
            // The position that serde_json adds is one within the line.
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            FrameError::Content {
                path: self.file.path.clone(),
                format: "JSON lines",
                problem: format!("line {line}: {text} (character {})", error.column()),
            }
        })
    }
}

/// Walks over one object.
struct Row<'a, 'f> {
    file: &'a Lines,
    each: &'f mut dyn FnMut(Place<'_>, Scalar<'_>),
}

impl<'de> DeserializeSeed<'de> for Row<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Rows mostly have the same keys in the same order, so that the next column is the likely one.
        let mut likely = 0;
        while let Some(key) = map.next_key_seed(Key)? {
            let place = match self.file.names.get(likely) {
                Some(name) if *name == *key => Some(likely),
                _ => self.file.place.get(key.as_ref()).copied(),
            };
            likely = place.map_or(likely, |place| place + 1);
            let place = place.map_or(Place::Unknown(&key), Place::Column);
            map.next_value_seed(Cell { place, each: &mut *self.each })?;
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = std::borrow::Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = std::borrow::Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(key.into())
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(key.to_owned().into())
    }
}

/// One value of a row.
struct Cell<'a, 'f> {
    place: Place<'a>,
    each: &'f mut dyn FnMut(Place<'_>, Scalar<'_>),
}

impl<'de> DeserializeSeed<'de> for Cell<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cell<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        (self.each)(self.place, Scalar::Null);
        Ok(())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        (self.each)(self.place, Scalar::Truth(truth));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        (self.each)(self.place, Scalar::Number(number as f64));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        (self.each)(self.place, Scalar::Number(number as f64));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        (self.each)(self.place, Scalar::Number(number));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.each)(self.place, Scalar::Text(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        (self.each)(self.place, Scalar::Nested);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        (self.each)(self.place, Scalar::Nested);
        Ok(())
    }
}
