//! Artifacts and exports as files: read with their hash checked, written as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::model_version::ModelVersion;
use crate::retrain::artifact::{Artifact, ArtifactError, sha256};
use crate::retrain::export::BundleFile;

/// A file or folder that is not as it has to be.
#[derive(Debug, Error)]
pub enum ArtifactFileError {
    /// The artifact is not readable.
    #[error("the artifact of version {version}, `{path}`, cannot be read: {problem}")]
    Unreadable {
        /// The version.
        version: i64,
        /// Where it should be.
        path: String,
        /// Why.
        problem: io::Error,
    },
    /// The artifact is not the one that was registered.
    #[error("the artifact of version {version}, `{path}`, has SHA-256 {found}; the registry says {expected}")]
    Changed {
        /// The version.
        version: i64,
        /// Where it is.
        path: String,
        /// Its hash.
        found: String,
        /// The hash that was registered.
        expected: String,
    },
    /// The artifact does not read.
    #[error("the artifact of version {version}, `{path}`: {problem}")]
    Corrupt {
        /// The version.
        version: i64,
        /// Where it is.
        path: String,
        /// Why.
        problem: ArtifactError,
    },
    /// There is something where the folder should be.
    #[error("`{}` exists and is not empty; nothing in it is overwritten: give another folder or remove it", .0.display())]
    Exists(PathBuf),
    /// The folder could not be written.
    #[error("`{}` could not be written: {problem}", path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        problem: io::Error,
    },
}

/// Reads the artifact of a version and checks its hash.
///
/// # Errors
///
/// [`ArtifactFileError`] says what is wrong with the file.
pub fn read(version: &ModelVersion) -> Result<Artifact, ArtifactFileError> {
    let number = version.version;
    let path = version.artifact_uri.strip_prefix("file://").unwrap_or(&version.artifact_uri).to_owned();
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(problem) => return Err(ArtifactFileError::Unreadable { version: number, path, problem }),
    };
    let found = sha256(&content);
    if found != version.artifact_sha256 {
        let expected = version.artifact_sha256.clone();
        return Err(ArtifactFileError::Changed { version: number, path, found, expected });
    }
    Artifact::from_bytes(&content).map_err(|problem| ArtifactFileError::Corrupt {
        version: number,
        path,
        problem,
    })
}

/// Makes folder `to` with `files`: it appears when all of it is on disk. A folder with something in it stays as it is.
///
/// # Errors
///
/// [`ArtifactFileError::Exists`] and [`ArtifactFileError::Unwritable`]; nothing is left behind then.
pub fn write_folder(to: &Path, files: &[BundleFile]) -> Result<(), ArtifactFileError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |problem| ArtifactFileError::Unwritable { path, problem }
    };
    match fs::read_dir(to) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(ArtifactFileError::Exists(to.to_owned()));
            }
        }
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => {}
        Err(problem) => return Err(failed(to)(problem)),
    }
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let partial = parent.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = write_all(&partial, files, failed).and_then(|()| {
        // An empty folder gives way to one that is renamed.
        fs::rename(&partial, to).map_err(failed(to))
    });
    if written.is_err() {
        // What is wrong was said already.
        fs::remove_dir_all(&partial).unwrap_or_default();
    }
    written
}

fn write_all<F: FnOnce(io::Error) -> ArtifactFileError>(
    folder: &Path,
    files: &[BundleFile],
    failed: impl Fn(&Path) -> F,
) -> Result<(), ArtifactFileError> {
    for file in files {
        let path = folder.join(&file.path);
        let write = || -> io::Result<()> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut out = File::create(&path)?;
            out.write_all(&file.content)?;
            out.sync_all()
        };
        write().map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str) -> BundleFile {
        BundleFile { path: path.to_owned(), content: content.as_bytes().to_vec() }
    }

    #[test]
    fn a_folder_appears_whole_and_is_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("exported");
        write_folder(&to, &[file("a", "1"), file("b/c", "2")]).unwrap();
        assert_eq!(fs::read_to_string(to.join("b/c")).unwrap(), "2");
        let again = write_folder(&to, &[file("a", "3")]).unwrap_err();
        assert!(matches!(again, ArtifactFileError::Exists(_)), "{again}");
        assert_eq!(fs::read_to_string(to.join("a")).unwrap(), "1");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no partial folder is left");
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("exported");
        // A file where a folder has to be.
        let failure = write_folder(&to, &[file("a", "1"), file("a/b", "2")]).unwrap_err();
        assert!(failure.to_string().contains("could not be written"), "{failure}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
