//! The schema that `BentoML` writes beside its monitor logs: `schema/schema.1.log` for `data/data.1.log`.

use std::path::{Path, PathBuf};

/// Bytes of a schema file that are looked at, from its end.
const MAX_BYTES: u64 = 1 << 20;

/// The folder of schemas for the log at `path`, if there is one.
pub(super) fn schema_folder(path: &Path) -> Option<PathBuf> {
    let data = path.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "data"))?;
    Some(data.with_file_name("schema")).filter(|folder| folder.is_dir())
}

/// The line with the schema of the log at `path`: the newest of the same worker's file, else of any.
pub(super) fn schema_line(path: &Path) -> Option<Vec<u8>> {
    let folder = schema_folder(path)?;
    let worker = path.file_name()?.to_str()?.split('.').nth(1)?.to_owned();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let is_same = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.split('.').nth(1) == Some(worker.as_str())
    };
    let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    files.sort_by_key(|path| (is_same(path), modified(path)));
    files.iter().rev().find_map(|path| last_line(path))
}

/// The last whole line that is not blank.
fn last_line(path: &Path) -> Option<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n')?;
    let mut lines = bytes[..whole].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.rfind(|line| !line.is_empty()).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_the_same_worker_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let schema = folder.path().join("schema");
        std::fs::create_dir(&data).unwrap();
        let log = data.join("data.2.log.2026-11-21");
        assert_eq!(schema_line(&log), None);
        std::fs::create_dir(&schema).unwrap();
        assert_eq!(schema_line(&log), None);
        std::fs::write(schema.join("schema.1.log"), "{\"one\":1}\n").unwrap();
        assert_eq!(schema_line(&log).unwrap(), b"{\"one\":1}");
        std::fs::write(schema.join("schema.2.log"), "{\"old\":1}\n{\"two\":1}\n{\"ha").unwrap();
        std::fs::write(schema.join("schema.3.log"), "{\"three\":1}\n").unwrap();
        assert_eq!(schema_line(&log).unwrap(), b"{\"two\":1}");
        assert_eq!(schema_line(Path::new("/logs/app.log")), None);
    }
}
