//! Whose a cluster is and where it lies: the user Postgres runs as, and folders that this user can reach.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::ClusterError;

/// Longest path of a Unix socket, in bytes (`sun_path` less its closing zero).
const SOCKET_PATH_MAX: usize = 107;

/// The file that Postgres makes in its socket folder, for port 5432.
pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// Where a cluster of root lies when its own folder is behind one that only root may enter.
const SHARED_DATA: &str = "/var/lib/driftline";

/// The user that Postgres runs as, when we are root: it refuses to be root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUser {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl ServerUser {
    /// `None` when we are not root and Postgres simply runs as we do.
    pub(super) fn needed() -> Result<Option<Self>, ClusterError> {
        if own_uid()? != 0 {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd")
            .map_err(|source| ClusterError::io("read", Path::new("/etc/passwd"), source))?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::parse(&passwd, name))
            .map(Some)
            .ok_or(ClusterError::NoUser)
    }

    /// Reads one user from the text of `/etc/passwd`; the C library would need `unsafe` to be asked.
    fn parse(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then_some(())?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            (uid != 0).then(|| Self { name: name.to_owned(), uid, gid })
        })
    }

    /// The first folder on the way to `path` that this user may not pass, by mode bits.
    pub(super) fn stopped_at<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.ancestors().find(|folder| fs::metadata(folder).is_ok_and(|found| !self.may_enter(&found)))
    }

    fn may_enter(&self, folder: &fs::Metadata) -> bool {
        let bit = match (folder.uid() == self.uid, folder.gid() == self.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        folder.mode() & bit != 0
    }
}

/// Our own user id: `/proc/self` belongs to whoever looks; without `/proc`, `id` knows it.
fn own_uid() -> Result<u32, ClusterError> {
    if let Ok(own) = fs::metadata("/proc/self") {
        return Ok(own.uid());
    }
    let id = Path::new("id");
    let failed = |source| ClusterError::io("run", id, source);
    let output = Command::new(id).arg("-u").output().map_err(failed)?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| failed(io::Error::other("`id -u` did not print a number")))
}

/// The folders of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Holds everything below, except perhaps the socket. Mode 0700, owned by the server's user.
    pub(super) home: PathBuf,
    /// Postgres' own data folder.
    pub(super) data: PathBuf,
    /// What Postgres says.
    pub(super) log: PathBuf,
    /// The folder of the socket. Mode 0700 too: who may enter it may connect.
    pub(super) socket: PathBuf,
}

impl Place {
    /// Chooses and makes the folders for the cluster that belongs to `data_dir`.
    ///
    /// The choice depends only on `data_dir` and the user, so that every start finds the same cluster.
    pub(super) fn prepare(data_dir: &Path, user: Option<&ServerUser>) -> Result<Self, ClusterError> {
        fs::create_dir_all(data_dir).map_err(|source| ClusterError::io("create", data_dir, source))?;
        let data_dir =
            fs::canonicalize(data_dir).map_err(|source| ClusterError::io("resolve", data_dir, source))?;
        let home = match user.and_then(|user| Some((user, user.stopped_at(&data_dir)?))) {
            None => data_dir.join("postgres"),
            Some((user, stop)) => {
                let home = Path::new(SHARED_DATA).join(key(&data_dir));
                tracing::info!(
                    user = user.name, home = %home.display(),
                    "Postgres must not run as root, and `{}` cannot pass `{}`: the database is kept elsewhere",
                    user.name, stop.display(),
                );
                let parent = Path::new(SHARED_DATA);
                fs::create_dir_all(parent).map_err(|source| ClusterError::io("create", parent, source))?;
                home
            }
        };
        private_folder(&home, user)?;
        let mut socket = home.join("run");
        if SOCKET_PATH_MAX < socket.join(SOCKET_NAME).as_os_str().len() {
            socket = short_folder(user).join(format!("driftline-{}", key(&home)));
            tracing::info!(
                socket = %socket.display(),
                "a socket under `{}` would have too long a path: it is kept elsewhere", home.display(),
            );
        }
        private_folder(&socket, user)?;
        Ok(Self { data: home.join("data"), log: home.join("postgres.log"), home, socket })
    }

    /// The address of a database here, as sqlx and libpq read it.
    ///
    /// Port and TLS are named so that `PGPORT` and `PGSSLMODE` of the environment cannot lead elsewhere.
    pub(super) fn url(&self, database: &str) -> String {
        let folder = percent_encode(&self.socket);
        format!("postgres:///{database}?host={folder}&port=5432&user=driftline&sslmode=disable")
    }
}

/// A short, private place for a socket. For a server of its own user, `/tmp` is the only one surely open to it.
fn short_folder(user: Option<&ServerUser>) -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|folder| user.is_none() && !folder.is_empty() && folder.len() < SOCKET_PATH_MAX / 2)
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir())
        .unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// Makes `folder` with mode 0700 for `user`, or makes sure that it is exactly that.
///
/// A folder of somebody else is refused: under `/tmp` it might have been put there to catch us.
fn private_folder(folder: &Path, user: Option<&ServerUser>) -> Result<(), ClusterError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            if let Some(user) = user {
                chown(folder, Some(user.uid), Some(user.gid))
                    .map_err(|source| ClusterError::io("give away", folder, source))?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found =
                fs::symlink_metadata(folder).map_err(|source| ClusterError::io("inspect", folder, source))?;
            let owner = match user {
                Some(user) => user.uid,
                None => own_uid()?,
            };
            if !found.is_dir() || found.uid() != owner {
                return Err(ClusterError::NotOurs { folder: folder.to_path_buf(), owner });
            }
            if found.mode() & 0o777 != 0o700 {
                fs::set_permissions(folder, Permissions::from_mode(0o700))
                    .map_err(|source| ClusterError::io("close", folder, source))?;
            }
            Ok(())
        }
        Err(source) => Err(ClusterError::io("create", folder, source)),
    }
}

/// Sixteen hexadecimal digits that stand for a path.
fn key(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest.iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Everything but letters, digits and `/-_.` as `%XX`.
fn percent_encode(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().iter().fold(String::new(), |text, &byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
            text + &char::from(byte).to_string()
        }
        _ => text + &format!("%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\npostgres2:x:7:7::/:/bin/sh\n\
        postgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\nbroken\nnobody:x:65534:65534::/:/none\n";

    #[test]
    fn finds_users_in_passwd() {
        let user = ServerUser::parse(PASSWD, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert_eq!(ServerUser::parse(PASSWD, "nobody").unwrap().uid, 65534);
        assert_eq!(ServerUser::parse(PASSWD, "broken"), None);
        assert_eq!(ServerUser::parse(PASSWD, "absent"), None);
        assert_eq!(ServerUser::parse(PASSWD, "root"), None, "dropping to root is no drop");
    }

    #[test]
    fn sees_where_a_user_is_stopped() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(outer.path(), Permissions::from_mode(0o700)).unwrap();
        let stranger = ServerUser { name: "stranger".into(), uid: 4_000_000, gid: 4_000_000 };
        assert_eq!(stranger.stopped_at(&inner), Some(outer.path()));
        fs::set_permissions(outer.path(), Permissions::from_mode(0o711)).unwrap();
        assert_eq!(stranger.stopped_at(&inner), None);
    }

    #[test]
    fn encodes_any_path_for_a_url() {
        assert_eq!(percent_encode(Path::new("/a b/é,?&=%/x-1_2.3")), "/a%20b/%C3%A9%2C%3F%26%3D%25/x-1_2.3");
    }

    #[test]
    fn refuses_a_folder_that_is_a_link() {
        let outer = tempfile::tempdir().unwrap();
        let link = outer.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        let error = private_folder(&link, None).unwrap_err();
        assert!(matches!(error, ClusterError::NotOurs { .. }), "{error}");
    }
}
