//! Files as a stream of bytes, through gzip and zstd where the name says so, bounded in what they unpack to.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Times its size that a compressed file may unpack to; gzip reaches about 1030.
const MAX_RATIO: u64 = 1100;

/// What a small file may unpack to in any case.
const MAX_SMALL: u64 = 16 << 20;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    /// By the last extension, and the name without it.
    pub(super) fn of(path: &Path) -> (Self, &Path) {
        let packing = match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            _ => return (Self::None, path),
        };
        let inner = path.file_stem().map_or(path, Path::new);
        (packing, inner)
    }
}

/// What a file unpacks to, from `offset` on.
///
/// # Errors
///
/// What opening or reading fails with; [`io::ErrorKind::FileTooLarge`] when it unpacks to too much.
pub(super) fn unpacked(file: &File, packing: Packing, offset: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut file = file.try_clone()?;
    if packing == Packing::None {
        file.seek(SeekFrom::Start(offset))?;
        return Ok(Box::new(file));
    }
    file.seek(SeekFrom::Start(0))?;
    let limit = file.metadata()?.len().saturating_mul(MAX_RATIO).max(MAX_SMALL);
    let inner: Box<dyn Read + Send> = match packing {
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(file))),
        _ => Box::new(zstd::stream::read::Decoder::new(file)?),
    };
    let mut reader = Limited { inner, left: limit };
    let skipped = io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
    if skipped < offset {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Box::new(reader))
}

/// A reader that fails beyond a number of bytes, where `take` would pretend that the file ends.
struct Limited {
    inner: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(packing: Packing, bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        match packing {
            Packing::None => file.write_all(bytes).unwrap(),
            Packing::Gzip => {
                // Two members, as `cat a.gz b.gz` leaves them.
                for part in bytes.chunks(bytes.len().div_ceil(2).max(1)) {
                    let mut encoder = flate2::write::GzEncoder::new(&mut file, flate2::Compression::fast());
                    encoder.write_all(part).unwrap();
                    encoder.finish().unwrap();
                }
            }
            Packing::Zstd => zstd::stream::copy_encode(bytes, &mut file, 1).unwrap(),
        }
        file
    }

    #[test]
    fn names_tell_the_packing() {
        for (name, packing, inner) in [
            ("/x/a.jsonl", Packing::None, "/x/a.jsonl"),
            ("/x/a.jsonl.gz", Packing::Gzip, "a.jsonl"),
            ("/x/a.json.zst", Packing::Zstd, "a.json"),
        ] {
            assert_eq!(Packing::of(Path::new(name)), (packing, Path::new(inner)));
        }
    }

    #[test]
    fn reading_goes_on_at_an_offset() {
        for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
            let file = packed(packing, b"0123456789");
            let mut text = String::new();
            unpacked(&file, packing, 4).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "456789", "{packing:?}");
        }
        let file = packed(Packing::Gzip, b"0123456789");
        let beyond = unpacked(&file, Packing::Gzip, 11).err().unwrap();
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_bomb_is_a_failure() {
        let file = packed(Packing::Zstd, &vec![0; 64 << 20]);
        let read = io::copy(&mut unpacked(&file, Packing::Zstd, 0).unwrap(), &mut io::sink());
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_cut_file_is_a_failure() {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let whole = packed(packing, &[b'x'; 5000]);
            whole.set_len(whole.metadata().unwrap().len() - 6).unwrap();
            assert!(io::copy(&mut unpacked(&whole, packing, 0).unwrap(), &mut io::sink()).is_err());
        }
    }
}
