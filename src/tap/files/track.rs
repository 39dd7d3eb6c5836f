//! One file that is read: how far, what it is known by, and its next lines.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::lines::{self, Cut, Cutting};
use super::position::{FilePosition, Head, Version};
use super::scan::{Found, Kind};
use super::unpack::{Packing, unpacked};

/// Bytes that are read from a file at once.
const BUFFER: usize = 64 << 10;

/// How long a file that was renamed or deleted is watched for what its writer still adds, in multiples of the time in
/// which a file that is read as a whole must not have changed.
const LINGER: u32 = 15;

/// What is to be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing now.
    None,
    /// It is read, or read on.
    Read {
        /// Nothing more will come after its end.
        ends: bool,
    },
    /// It was read and is another now.
    Changed,
}

/// One file.
pub(super) struct Tracked {
    /// Its identity, under which its position is kept.
    pub(super) of: String,
    pub(super) kind: Kind,
    pub(super) found: Found,
    /// Whether a pattern still leads to it.
    pub(super) present: bool,
    pub(super) position: FilePosition,
    /// Open, so that what is written after it was renamed or deleted is read as well.
    pub(super) handle: Option<File>,
    /// What a packed file unpacks to, from the position on.
    reader: Option<BufReader<Box<dyn Read + Send>>>,
    /// Not tried again until it is another.
    pub(super) failed: Option<Version>,
    stable_since: Instant,
}

/// Lines, and the position after them.
pub(super) struct Next {
    pub(super) cut: Cut,
    pub(super) position: FilePosition,
    /// The file was cut short or written anew, and is read from its start.
    pub(super) restarted: bool,
}

impl Tracked {
    pub(super) fn new(of: String, kind: Kind, found: Found, position: FilePosition, now: Instant) -> Self {
        Self {
            of,
            kind,
            found,
            present: true,
            position,
            handle: None,
            reader: None,
            failed: None,
            stable_since: now,
        }
    }

    /// Takes note of the file as it is now.
    pub(super) fn see(&mut self, found: Found, now: Instant) {
        if (found.size, found.modified, found.number)
            != (self.found.size, self.found.modified, self.found.number)
        {
            self.stable_since = now;
        }
        if found.number != self.found.number {
            self.handle = None;
            self.reader = None;
        }
        self.present = true;
        self.found = found;
    }

    /// Takes note of a file that no pattern leads to any more; false when nothing of it can be read.
    pub(super) fn miss(&mut self, now: Instant) -> bool {
        let Some(metadata) = self.handle.as_ref().and_then(|file| file.metadata().ok()) else { return false };
        if self.present || metadata.len() != self.found.size {
            self.stable_since = now;
        }
        self.present = false;
        self.found.size = metadata.len();
        true
    }

    /// Up to where the file is going to be read, though it may be gone: what is open is read to its end.
    pub(super) fn ends_at(&self) -> u64 {
        let size =
            self.handle.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len());
        size.max(self.position.offset)
    }

    /// What the file is known to be unchanged by.
    pub(super) fn version(&self) -> Version {
        Version { size: self.found.size, modified: self.found.modified }
    }

    /// How the file is packed.
    pub(super) fn packing(&self) -> Packing {
        match self.kind {
            Kind::Lines { packing, .. } | Kind::Document(packing) => packing,
            Kind::Table | Kind::EventTable => Packing::None,
        }
    }

    /// Whether the file is read while it grows.
    pub(super) fn grows(&self, follow: bool) -> bool {
        follow && matches!(self.kind, Kind::Lines { packing: Packing::None, .. })
    }

    /// What is to be done with it.
    pub(super) fn work(&self, follow: bool, settle: Duration, now: Instant) -> Work {
        let settled = now.duration_since(self.stable_since) >= settle;
        if self.grows(follow) {
            let ends = !self.present && self.is_over(settle, now);
            return if self.found.size == self.position.offset { Work::None } else { Work::Read { ends } };
        }
        if !settled || self.failed == Some(self.version()) {
            return Work::None;
        }
        match self.position.done {
            None => Work::Read { ends: true },
            Some(version) if version == self.version() => Work::None,
            Some(_) => Work::Changed,
        }
    }

    /// Whether a file that is gone got nothing more for long enough.
    fn is_over(&self, settle: Duration, now: Instant) -> bool {
        now.duration_since(self.stable_since) >= settle * LINGER
    }

    /// Whether there is still something to wait for in a file that is gone.
    pub(super) fn lingers(&self, follow: bool, settle: Duration, now: Instant) -> bool {
        let unread = self.found.size != self.position.offset && self.failed.is_none();
        self.grows(follow) && (unread || !self.is_over(settle, now))
    }

    /// Whether the file has not changed for as long.
    pub(super) fn rests(&self, settle: Duration) -> bool {
        Instant::now().duration_since(self.stable_since) >= settle
    }

    /// Bytes that are not read; of packed files, all or none.
    pub(super) fn lag(&self, follow: bool) -> u64 {
        if self.grows(follow) {
            self.found.size.saturating_sub(self.position.offset)
        } else if self.position.done.is_some() {
            0
        } else {
            self.found.size
        }
    }

    /// The file, opened when it is not; none when another stands in its place.
    pub(super) fn open(&mut self) -> io::Result<Option<&File>> {
        if self.handle.is_none() {
            let file = File::open(&self.found.path)?;
            let metadata = file.metadata()?;
            if (metadata.dev(), metadata.ino()) != self.found.number {
                return Ok(None);
            }
            self.handle = Some(file);
        }
        Ok(self.handle.as_ref())
    }

    /// The first `offset` bytes' mark.
    pub(super) fn head(&mut self, offset: u64) -> io::Result<Head> {
        let (packing, path) = (self.packing(), self.found.path.clone());
        match self.open()? {
            Some(file) => Head::of(front(file, &path, packing)?, offset),
            None => Ok(Head::default()),
        }
    }

    /// Whether the file begins as `head` says.
    pub(super) fn begins_as(&mut self, head: Head) -> io::Result<bool> {
        let (packing, path) = (self.packing(), self.found.path.clone());
        match self.open()? {
            Some(file) => head.fits(front(file, &path, packing)?),
            None => Ok(false),
        }
    }

    /// The next lines; none when another file stands in its place.
    pub(super) fn next(&mut self, cutting: Cutting) -> io::Result<Option<Next>> {
        let packing = self.packing();
        let mut position = self.position.clone();
        position.path = self.found.path.to_string_lossy().into_owned();
        if self.open()?.is_none() {
            return Ok(None);
        }
        // The field itself, so that the reader is another.
        let Some(file) = self.handle.as_ref() else { return Ok(None) };
        let mut restarted = false;
        if packing == Packing::None {
            let size = file.metadata()?.len();
            if size < position.offset || !position.head.fits(Front { file, at: 0 })? {
                restarted = true;
                let generation = position.generation.wrapping_add(1);
                position = FilePosition { generation, path: position.path, ..FilePosition::default() };
            }
        }
        let start = position.offset;
        if self.reader.is_none() {
            let file = unpacked(file, packing, start)?;
            self.reader = Some(BufReader::with_capacity(BUFFER, file));
        }
        let Some(reader) = self.reader.as_mut() else { return Ok(None) };
        let cut = lines::cut(reader, position.in_long_line, cutting);
        if packing == Packing::None || cut.is_err() {
            self.reader = None;
        }
        let cut = cut?;
        position.offset = start + cut.consumed;
        position.in_long_line = cut.in_long_line;
        position.head = self.head(position.offset)?;
        Ok(Some(Next { cut, position, restarted }))
    }

    /// Everything, of a file of at most `limit` bytes; none when there is more, or another file stands in its place.
    pub(super) fn whole(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let packing = self.packing();
        let Some(file) = self.open()? else { return Ok(None) };
        let mut bytes = Vec::new();
        unpacked(file, packing, 0)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        self.handle = None;
        Ok((bytes.len() <= limit).then_some(bytes))
    }

    /// Begins from a position that somebody else has written.
    pub(super) fn jump(&mut self, position: FilePosition) {
        self.position = position;
        self.reader = None;
    }

    /// Lets go of a file that does not grow.
    pub(super) fn close(&mut self) {
        self.handle = None;
        self.reader = None;
    }

    /// Names it in logs.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.found.path.display(), self.position.offset)
    }
}

/// What a file begins with, without moving where it is read.
fn front<'f>(file: &'f File, path: &Path, packing: Packing) -> io::Result<Box<dyn Read + 'f>> {
    match packing {
        Packing::None => Ok(Box::new(Front { file, at: 0 })),
        // Opened anew, as clones of a file share where they stand.
        packed => Ok(Box::new(unpacked(&File::open(path)?, packed, 0)?)),
    }
}

struct Front<'f> {
    file: &'f File,
    at: u64,
}

impl Read for Front<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
