//! How far a file is read, in the words that the database keeps.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Bytes at the front of a file by which it is known again.
const HEAD: u64 = 512;

/// The front of a file: of as much as was read of it, up to a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Head {
    length: u64,
    hash: u64,
}

impl Head {
    /// The front of what `reader` gives, for a file of which `offset` bytes are read.
    pub(super) fn of(reader: impl Read, offset: u64) -> io::Result<Self> {
        let mut front = Vec::new();
        reader.take(offset.min(HEAD)).read_to_end(&mut front)?;
        let digest = Sha256::digest(&front);
        let hash = digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte));
        Ok(Self { length: front.len() as u64, hash })
    }

    /// Bytes that it covers.
    pub(super) fn length(self) -> u64 {
        self.length
    }

    /// Whether it covers as much as it ever does.
    pub(super) fn is_full(self) -> bool {
        self.length == HEAD
    }

    /// Whether `reader` begins with the same bytes.
    pub(super) fn fits(self, reader: impl Read) -> io::Result<bool> {
        Ok(self.length == 0 || Self::of(reader, self.length)? == self)
    }
}

/// How far a file is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FilePosition {
    /// How often the file began anew under the same identity.
    pub(super) generation: u32,
    /// Bytes that are read, of what a compressed file unpacks to; of tables, rows.
    pub(super) offset: u64,
    /// The offset lies in a line that is too long, whose rest is passed over.
    pub(super) in_long_line: bool,
    /// The file's front, to tell it from another under the same name or number.
    pub(super) head: Head,
    /// Size of the file when it was read to its end, for files that do not grow.
    pub(super) done: Option<Version>,
    /// Where it was.
    pub(super) path: String,
}

/// What a file that does not grow is known to be unchanged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    /// Bytes.
    pub(super) size: u64,
    /// Time of the last change, in milliseconds since 1970.
    pub(super) modified: i64,
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, offset, in_long_line, head, done, path } = self;
        write!(f, "offset={offset} generation={generation} head={}:{:016x}", head.length, head.hash)?;
        if *in_long_line {
            f.write_str(" long")?;
        }
        if let Some(Version { size, modified }) = done {
            write!(f, " done={size}:{modified}")?;
        }
        // Last, as it may hold anything.
        write!(f, " path={path}")
    }
}

/// A position that was not written by this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

impl FromStr for FilePosition {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (words, path) = text.split_once(" path=").ok_or(Unreadable)?;
        let mut position = Self { path: path.to_owned(), ..Self::default() };
        let mut offset = None;
        for word in words.split(' ') {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "offset" => offset = Some(value.parse().map_err(|_| Unreadable)?),
                "generation" => position.generation = value.parse().map_err(|_| Unreadable)?,
                "head" => {
                    let (length, hash) = value.split_once(':').ok_or(Unreadable)?;
                    position.head = Head {
                        length: length.parse().map_err(|_| Unreadable)?,
                        hash: u64::from_str_radix(hash, 16).map_err(|_| Unreadable)?,
                    };
                }
                "long" => position.in_long_line = true,
                "done" => {
                    let (size, modified) = value.split_once(':').ok_or(Unreadable)?;
                    position.done = Some(Version {
                        size: size.parse().map_err(|_| Unreadable)?,
                        modified: modified.parse().map_err(|_| Unreadable)?,
                    });
                }
                // A later version may say more.
                _ => {}
            }
        }
        position.offset = offset.ok_or(Unreadable)?;
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_front_tells_files_apart() {
        let long: Vec<u8> = (0..2000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let head = Head::of(&long[..], 1500).unwrap();
        assert_eq!(head.length, HEAD);
        assert!(head.fits(&long[..]).unwrap());
        let mut other = long.clone();
        other[511] ^= 1;
        assert!(!head.fits(&other[..]).unwrap());
        assert!(!head.fits(&long[..100]).unwrap(), "a shorter file is another");
        let early = Head::of(&long[..], 10).unwrap();
        assert!(early.fits(&other[..]).unwrap(), "only what was read counts");
        assert!(Head::default().fits(&b"x"[..]).unwrap(), "of a new file nothing is known");
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in
            ["", "17", "offset= path=/x", "generation=1 path=/x", "offset=1 head=1 path=x", "offset=-1 path="]
        {
            assert_eq!(text.parse::<FilePosition>(), Err(Unreadable), "{text}");
        }
        assert_eq!("offset=1 later=7 path=a path=b".parse::<FilePosition>().unwrap().path, "a path=b");
    }

    proptest! {
        #[test]
        fn a_position_is_read_as_it_was_written(
            generation: u32, offset: u64, in_long_line: bool, length in 0..512_u64, hash: u64,
            done in proptest::option::of((any::<u64>(), any::<i64>())), path in ".{0,40}",
        ) {
            let position = FilePosition {
                generation, offset, in_long_line, head: Head { length, hash },
                done: done.map(|(size, modified)| Version { size, modified }), path,
            };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            prop_assert!(text.parse::<FilePosition>().is_ok() || text.parse::<FilePosition>().is_err());
        }
    }
}
