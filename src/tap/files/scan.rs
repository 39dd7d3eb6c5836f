//! The files that patterns match, oldest first.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use glob::MatchOptions;

use super::unpack::Packing;
use crate::config::FileFormat;

/// Files that one source looks at.
const MAX_FILES: usize = 100_000;

/// A file as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Device and inode.
    pub(super) number: (u64, u64),
    pub(super) size: u64,
    /// Milliseconds since 1970.
    pub(super) modified: i64,
    /// When it was made, in seconds since 1970; 0 where the file system does not say.
    pub(super) made: u32,
}

impl Found {
    /// The file at `path`, unless it is none or is gone.
    pub(super) fn at(path: PathBuf) -> Option<Self> {
        let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
        let modified =
            metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
        let made = metadata.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        let made = made.and_then(|made| u32::try_from(made.as_secs()).ok()).unwrap_or(0);
        Some(Self { path, number: (metadata.dev(), metadata.ino()), size: metadata.len(), modified, made })
    }
}

/// What a look at the folders gave.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Each file once, by the time of its last change.
    pub(super) files: Vec<Found>,
    /// Files beyond the bound, which are not looked at.
    pub(super) left_out: usize,
    /// Folders that cannot be read.
    pub(super) unreadable: usize,
}

/// Why a pattern is none.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    glob::Pattern::new(pattern).map(|_| ()).map_err(|error| format!("`{pattern}` is no pattern: {error}"))
}

/// Looks for files that `patterns` match.
pub(super) fn scan(patterns: &[String]) -> Scan {
    let mut scan = Scan::default();
    let mut seen = HashSet::new();
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    for pattern in patterns {
        let fixed = fixed_components(pattern);
        for path in glob::glob_with(pattern, options).into_iter().flatten() {
            let Ok(path) = path else {
                scan.unreadable += 1;
                continue;
            };
            if !is_meant(&path, fixed) {
                continue;
            }
            // A link and what it leads to are one file.
            if let Some(found) = Found::at(path).filter(|found| seen.insert(found.number)) {
                if scan.files.len() < MAX_FILES {
                    scan.files.push(found);
                } else {
                    scan.left_out += 1;
                }
            }
        }
    }
    scan.files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    scan
}

/// Components of a pattern before the first with a wildcard: what the settings name is meant, whatever its name.
fn fixed_components(pattern: &str) -> usize {
    let is_fixed =
        |component: &Component<'_>| !component.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    Path::new(pattern).components().take_while(is_fixed).count()
}

/// Whether no part of the path says that it is hidden, temporary or a marker.
fn is_meant(path: &Path, fixed: usize) -> bool {
    path.components().skip(fixed).all(|component| {
        let name = component.as_os_str().to_string_lossy();
        let temporary = name
            .rsplit_once('.')
            .is_some_and(|(_, extension)| ["tmp", "part", "partial", "crdownload"].contains(&extension));
        !(name.starts_with(['.', '_']) || temporary)
    })
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Line by line.
    Lines {
        /// Through this.
        packing: Packing,
        /// The columns are in a schema file beside it.
        monitor: bool,
    },
    /// As one document.
    Document(Packing),
    /// As a table of predictions.
    Table,
    /// As a table of events.
    EventTable,
}

impl Kind {
    /// How `path` is read in `format`.
    pub(super) fn of(format: FileFormat, path: &Path) -> Self {
        let (packing, inner) = Packing::of(path);
        let extension = inner.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_table =
            packing == Packing::None && ["parquet", "arrow", "feather", "csv"].contains(&extension);
        match format {
            FileFormat::Parquet | FileFormat::Csv => Self::Table,
            FileFormat::KserveBlob if is_table => Self::EventTable,
            FileFormat::KserveBlob => Self::Document(packing),
            FileFormat::Auto if is_table => Self::Table,
            FileFormat::Auto if extension == "json" => Self::Document(packing),
            FileFormat::Auto => {
                Self::Lines { packing, monitor: super::monitor::schema_folder(path).is_some() }
            }
            FileFormat::Bentoml => Self::Lines { packing, monitor: true },
            FileFormat::Jsonl | FileFormat::SagemakerCapture | FileFormat::Azure => {
                Self::Lines { packing, monitor: false }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_once_and_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (name, age) in [
            ("2026/11/21/10/b.jsonl", 5),
            ("2026/11/21/09/a.jsonl", 9),
            ("2026/11/21/11/c.jsonl", 1),
            ("2026/11/21/11/_SUCCESS.jsonl", 1),
            ("2026/11/21/11/.hidden.jsonl", 1),
            ("2026/11/21/11/d.jsonl.tmp", 1),
            ("_temporary/0/e.jsonl", 1),
            ("2026/11/21/11/f.csv", 1),
        ] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_790_000_000 - age);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        std::os::unix::fs::symlink(root.join("2026/11/21/10/b.jsonl"), root.join("2026/11/21/12.jsonl"))
            .unwrap();
        let pattern = format!("{}/**/*.jsonl", root.display());
        let looked = scan(&[pattern.clone(), pattern]);
        let names: Vec<_> =
            looked.files.iter().map(|found| found.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!((names[0], names[2]), ("a.jsonl", "c.jsonl"));
        assert_eq!(looked.files[0].modified, 1_789_999_991_000);
        // What is named outright is meant.
        let outright = format!("{}/_temporary/0/*.jsonl", root.display());
        assert_eq!(scan(&[outright]).files.len(), 1);
    }

    #[test]
    fn names_tell_how_a_file_is_read() {
        let lines = |packing| Kind::Lines { packing, monitor: false };
        for (format, name, expected) in [
            (FileFormat::Auto, "/x/a.jsonl", lines(Packing::None)),
            (FileFormat::Auto, "/x/a.log.2026-11-21", lines(Packing::None)),
            (FileFormat::Auto, "/x/a.jsonl.gz", lines(Packing::Gzip)),
            (FileFormat::Auto, "/x/a.parquet", Kind::Table),
            (FileFormat::Auto, "/x/a.csv", Kind::Table),
            (FileFormat::Auto, "/x/a.json", Kind::Document(Packing::None)),
            (FileFormat::KserveBlob, "/x/a.json.zst", Kind::Document(Packing::Zstd)),
            (FileFormat::KserveBlob, "/x/a.parquet", Kind::EventTable),
            (FileFormat::SagemakerCapture, "/x/a.json", lines(Packing::None)),
        ] {
            assert_eq!(Kind::of(format, Path::new(name)), expected, "{name}");
        }
    }
}
