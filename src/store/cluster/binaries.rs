//! Where the Postgres programs are, and of which version.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::ClusterError;

/// The oldest major version that driftline works with.
pub const OLDEST_MAJOR: u32 = 14;

/// Names the folder of the Postgres programs, and overrules every other place.
pub const VARIABLE: &str = "DRIFTLINE_POSTGRES_BIN";

/// The programs a cluster needs.
const PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_ctl"];

/// Where `tests/setup/postgres.py` puts what it downloads for root, whose home nobody else may enter.
const SHARED_CACHE: &str = "/var/cache/driftline";

/// A folder that holds `postgres`, `initdb` and `pg_ctl` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    /// The folder, with symbolic links resolved: Postgres finds its other files relative to it.
    pub(super) folder: PathBuf,
    /// The major version, such as 15.
    pub(super) major: u32,
}

impl Binaries {
    /// Finds programs for a data folder of version `wanted`, or the first that are new enough if there is none yet.
    ///
    /// A folder named by `chosen` or by the environment is the only one looked at.
    pub(super) async fn find(chosen: Option<&Path>, wanted: Option<u32>) -> Result<Self, ClusterError> {
        let chosen = chosen.map(Path::to_path_buf).or_else(|| env::var_os(VARIABLE).map(PathBuf::from));
        let folders = match &chosen {
            Some(folder) => vec![folder.clone()],
            None => usual_folders().await,
        };
        let mut found: Vec<Self> = Vec::new();
        for folder in &folders {
            if let Some(binaries) = Self::inspect(folder).await
                && !found.contains(&binaries)
            {
                found.push(binaries);
            }
        }
        match wanted {
            Some(major) => found
                .iter()
                .find(|binaries| binaries.major == major)
                .cloned()
                .ok_or_else(|| ClusterError::version_mismatch(major, &found)),
            None => match found.iter().find(|binaries| OLDEST_MAJOR <= binaries.major) {
                Some(binaries) => Ok(binaries.clone()),
                None => Err(ClusterError::no_binaries(&folders, &found)),
            },
        }
    }

    /// The path of one program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    async fn inspect(folder: &Path) -> Option<Self> {
        let postgres = fs::canonicalize(folder.join(PROGRAMS[0])).ok()?;
        let folder = postgres.parent()?.to_path_buf();
        if !PROGRAMS.iter().all(|program| folder.join(program).is_file()) {
            return None;
        }
        let output = Command::new(&postgres).arg("--version").output().await.ok()?;
        let major = major_version(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { folder, major })
    }
}

/// Every folder that may hold the programs, most telling first.
async fn usual_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output().await {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    folders.extend(
        newest_first(Path::new("/usr/lib/postgresql")).into_iter().map(|version| version.join("bin")),
    );
    for cache in [cache(env::var_os), Some(PathBuf::from(SHARED_CACHE))].into_iter().flatten() {
        let downloaded = newest_first(&cache);
        folders.extend(
            downloaded
                .into_iter()
                .filter(|folder| {
                    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("postgresql-"))
                })
                .map(|folder| folder.join("bin")),
        );
    }
    folders
}

/// driftline's cache: the same folder that the set-up scripts use.
fn cache(variable: impl Fn(&'static str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("DRIFTLINE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("driftline")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/driftline")))
}

/// The folders in `parent`, by the version number in their names, newest first.
fn newest_first(parent: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort_by_cached_key(|folder| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version: Vec<u32> = name
            .trim_start_matches(|letter: char| !letter.is_ascii_digit())
            .split('.')
            .map_while(|part| part.parse().ok())
            .collect();
        std::cmp::Reverse((version, name))
    });
    folders
}

/// The major version in what `postgres --version` says, such as `postgres (PostgreSQL) 15.20 (Debian 15.20-0)`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL)")?.1.trim_start();
    let digits = version.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_that_postgres_prints() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 19devel"), Some(19));
        assert_eq!(major_version("postgres (EnterpriseDB) 15"), None);
        assert_eq!(major_version(""), None);
    }

    #[test]
    fn orders_folders_by_number_not_by_letter() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9", "15", "100", "postgresql-18.6"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let names: Vec<_> = newest_first(parent.path())
            .iter()
            .map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["100", "postgresql-18.6", "15", "9"]);
        assert!(newest_first(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn looks_in_the_cache_of_the_set_up_scripts() {
        let only = |wanted: &'static str| move |name: &str| (name == wanted).then(|| OsString::from("/x"));
        assert_eq!(cache(only("DRIFTLINE_CACHE")), Some(PathBuf::from("/x")));
        assert_eq!(cache(only("XDG_CACHE_HOME")), Some(PathBuf::from("/x/driftline")));
        assert_eq!(cache(only("HOME")), Some(PathBuf::from("/x/.cache/driftline")));
        assert_eq!(cache(|_| None), None);
    }
}
