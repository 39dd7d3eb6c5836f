//! The private Postgres that driftline initialises, starts and stops when it is given no `database.url`.
//!
//! It lies in `<data_dir>/postgres` and listens on a Unix socket only. Its user `driftline` has no password: the
//! socket's folder has mode 0700 and belongs to the user Postgres runs as, so whoever can connect (that user and
//! root) could read the data files just as well, and a password would guard nothing more.
//!
//! Several driftline processes may share one cluster. Each holds a lock while it uses it, which the kernel lets go
//! of if the process dies; the last one to stop takes the cluster down. After a crash the next start finds the
//! cluster still running and goes on with it.

mod binaries;
mod place;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use binaries::Binaries;
use place::{Place, SOCKET_NAME, ServerUser};

pub use binaries::{OLDEST_MAJOR, VARIABLE as BINARIES_VARIABLE};

/// The database that driftline keeps its tables in.
const DATABASE: &str = "driftline";

/// How long a start, a stop or another process's turn may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Pause between two looks at something that changes by itself.
const PAUSE: Duration = Duration::from_millis(50);

/// A log longer than this is set aside when the cluster starts.
const LOG_MAX: u64 = 8 << 20;

/// Our settings, read after Postgres' own `postgresql.conf`.
const SETTINGS: &str = "driftline.conf";

/// Lines that anybody who may enter the socket's folder needs to connect; nothing else can.
const AUTHENTICATION: &str = "# Written by driftline: the socket's folder (mode 0700) is the guard.\n\
    local all all trust\n";

/// A private cluster that did not do as it should, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There are no programs, or only of versions that are too old.
    #[error(
        "no PostgreSQL {OLDEST_MAJOR} or newer was found ({found}; looked in {looked} folders)\n  hint: install \
         one (Debian: `apt-get install postgresql`), run `make setup`, name its folder of programs in \
         {BINARIES_VARIABLE}, or set `database.url` to a server you already have"
    )]
    NoBinaries {
        /// What there was instead.
        found: String,
        /// How many folders were searched.
        looked: usize,
    },
    /// The data was made by another major version than that of any programs found.
    #[error(
        "the private database is of PostgreSQL {data}, but the programs found are of {found}\n  hint: install \
         PostgreSQL {data} again or name its folder in {BINARIES_VARIABLE}; to move to the new version, dump with \
         the old one and restore into a new `data_dir`"
    )]
    VersionMismatch {
        /// Major version of the data.
        data: u32,
        /// Versions of the programs.
        found: String,
    },
    /// We are root and there is nobody else to be.
    #[error(
        "PostgreSQL must not run as root, and /etc/passwd has neither `postgres` nor `nobody`\n  hint: run driftline \
         as an ordinary user, or set `database.url`"
    )]
    NoUser,
    /// We are root, and the user Postgres runs as cannot reach its programs.
    #[error(
        "PostgreSQL must run as `{user}`, who may not enter `{stop}` on the way to its programs in `{folder}`\n  hint: \
         install PostgreSQL system-wide, or set DRIFTLINE_CACHE to a folder open to others and run `make setup`"
    )]
    Unreachable {
        /// The user Postgres runs as.
        user: String,
        /// Where that user is stopped.
        stop: PathBuf,
        /// Where it has to go.
        folder: PathBuf,
    },
    /// A folder that must be ours alone belongs to somebody else.
    #[error(
        "`{folder}` is not a folder that belongs to user id {owner}, so it is not safe to keep a database there\n  \
         hint: if an earlier run of another user left it, remove it or choose another `data_dir`"
    )]
    NotOurs {
        /// The folder.
        folder: PathBuf,
        /// Who should own it.
        owner: u32,
    },
    /// The data folder exists but holds no database.
    #[error(
        "`{0}` holds no PostgreSQL data\n  hint: it is damaged; restore it, or remove it to start afresh"
    )]
    Damaged(PathBuf),
    /// A path that Postgres' `pg_ctl` would hand to a shell unquoted, or that is no text.
    #[error(
        "a database cannot be kept in `{0}`: PostgreSQL has trouble with quotes, `$`, backslashes and control \
         characters in a path\n  hint: choose another `data_dir`"
    )]
    Path(PathBuf),
    /// Another driftline process is starting or stopping the same cluster and does not come to an end.
    #[error("another driftline process has been starting or stopping this database for {PATIENCE:?} (`{0}`)")]
    Busy(PathBuf),
    /// The file system refused something.
    #[error("failed to {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// One of Postgres' programs failed.
    #[error("`{program}` failed ({status}):\n{output}\n  hint: the log is `{log}`")]
    Program {
        /// Its path.
        program: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines of what it and the server said.
        output: String,
        /// The server's log.
        log: PathBuf,
    },
    /// The server runs but does not let us in.
    #[error("the private database did not answer within {PATIENCE:?}\n  hint: its log is `{log}`")]
    NotReady {
        /// The server's log.
        log: PathBuf,
        /// The last refusal.
        source: sqlx::Error,
    },
    /// The server refused to create the database.
    #[error("failed to create the database `{DATABASE}`")]
    Create(#[source] sqlx::Error),
}

impl ClusterError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    fn no_binaries(folders: &[PathBuf], found: &[Binaries]) -> Self {
        Self::NoBinaries { found: versions(found), looked: folders.len() }
    }

    fn version_mismatch(data: u32, found: &[Binaries]) -> Self {
        Self::VersionMismatch { data, found: versions(found) }
    }
}

fn versions(found: &[Binaries]) -> String {
    if found.is_empty() {
        return "none at all".to_owned();
    }
    let each: Vec<String> =
        found.iter().map(|binaries| format!("{} in {}", binaries.major, binaries.folder.display())).collect();
    each.join(", ")
}

/// A running private cluster, and our share in it.
///
/// Call [`Cluster::stop`] when done. A value that is merely dropped tells the server to stop without waiting.
#[derive(Debug)]
pub struct Cluster {
    url: String,
    place: Place,
    user: Option<ServerUser>,
    binaries: Binaries,
    /// Held while we use the cluster.
    share: Option<File>,
}

impl Cluster {
    /// Starts the cluster that belongs to `data_dir`, initialising it first if there is none; joins one that runs.
    ///
    /// # Arguments
    ///
    /// * `data_dir`: driftline's data folder; created if absent.
    /// * `binaries`: the folder of Postgres' programs; otherwise [`BINARIES_VARIABLE`], `pg_config --bindir`, `PATH`,
    ///   `/usr/lib/postgresql/*/bin` and the cache of the set-up scripts are searched, in this order.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] says what is missing or in the way, with a hint.
    pub async fn start(data_dir: &Path, binaries: Option<&Path>) -> Result<Self, ClusterError> {
        let user = ServerUser::needed()?;
        let place = Place::prepare(data_dir, user.as_ref())?;
        check_path(&place.home)?;
        let _turn = take_turn(&place).await?;
        let wanted = data_version(&place.data)?;
        let binaries = Binaries::find(binaries, wanted).await?;
        if let Some(user) = &user
            && let Some(stop) = user.stopped_at(&binaries.folder)
        {
            let (stop, folder) = (stop.to_path_buf(), binaries.folder.clone());
            return Err(ClusterError::Unreachable { user: user.name.clone(), stop, folder });
        }
        let url = place.url(DATABASE);
        let mut cluster = Self { url, place, user, binaries, share: None };
        let share = open_lock(&cluster.share_path())?;
        share.lock_shared().map_err(|source| ClusterError::io("lock", &cluster.share_path(), source))?;
        cluster.share = Some(share);
        if wanted.is_none() {
            cluster.initialise().await?;
        }
        if let Some(pid) = cluster.settled_server().await? {
            tracing::info!(pid, "the private database is already running; using it");
        } else {
            cluster.launch().await?;
        }
        cluster.ensure_database().await?;
        Ok(cluster)
    }

    /// The address of the database, for sqlx and for `psql`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the server writes its log.
    pub fn log(&self) -> &Path {
        &self.place.log
    }

    /// Gives up our share, and stops the server if nobody else has one.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Program`] if the server does not stop; [`ClusterError::Busy`] if another process is in the way.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        let _turn = take_turn(&self.place).await?;
        let Some(_alone) = self.let_go() else {
            tracing::info!("another driftline process uses the private database; it keeps running");
            return Ok(());
        };
        let mut pg_ctl = self.command("pg_ctl");
        pg_ctl.args(["stop", "--silent", "--mode=fast", "--wait", "--timeout"]);
        pg_ctl.arg(PATIENCE.as_secs().to_string()).arg("--pgdata").arg(&self.place.data);
        match self.run(pg_ctl).await {
            // It was stopped by somebody else: that is what we wanted.
            Err(_) if self.server().is_none() => Ok(()),
            stopped => stopped,
        }
    }

    /// Gives up our share; if nobody else has one now, returns a lock that keeps others waiting.
    fn let_go(&mut self) -> Option<File> {
        drop(self.share.take()?);
        let all = open_lock(&self.share_path()).ok()?;
        all.try_lock().ok().map(|()| all)
    }

    fn share_path(&self) -> PathBuf {
        self.place.home.join("users.lock")
    }

    /// Makes the data folder under another name and renames it when it is complete.
    async fn initialise(&self) -> Result<(), ClusterError> {
        let new = self.place.home.join("data.new");
        if new.exists() {
            fs::remove_dir_all(&new).map_err(|source| ClusterError::io("clear", &new, source))?;
        }
        tracing::info!(
            data = %self.place.data.display(), version = self.binaries.major,
            user = self.user.as_ref().map(|user| user.name.as_str()),
            "initialising a private database",
        );
        let mut initdb = self.command("initdb");
        initdb.args(["--username=driftline", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        initdb.args(["--no-instructions", "--pgdata"]).arg(&new);
        self.run(initdb).await?;
        self.write(&new.join("pg_hba.conf"), AUTHENTICATION)?;
        let main = new.join("postgresql.conf");
        OpenOptions::new()
            .append(true)
            .open(&main)
            .and_then(|mut file| writeln!(file, "\ninclude '{SETTINGS}'"))
            .map_err(|source| ClusterError::io("append to", &main, source))?;
        fs::rename(&new, &self.place.data)
            .map_err(|source| ClusterError::io("finish", &self.place.data, source))
    }

    /// Starts the server and waits until it says that it is ready.
    async fn launch(&self) -> Result<(), ClusterError> {
        self.write(&self.place.data.join(SETTINGS), &settings(&self.place.socket))?;
        if fs::metadata(&self.place.log).is_ok_and(|log| LOG_MAX < log.len()) {
            let old = self.place.log.with_extension("log.old");
            fs::rename(&self.place.log, &old)
                .map_err(|source| ClusterError::io("set aside", &old, source))?;
        }
        let patience = Instant::now() + PATIENCE;
        loop {
            let mut pg_ctl = self.command("pg_ctl");
            pg_ctl.args(["start", "--silent", "--wait", "--timeout"]).arg(PATIENCE.as_secs().to_string());
            pg_ctl.arg("--log").arg(&self.place.log).arg("--pgdata").arg(&self.place.data);
            match self.run(pg_ctl).await {
                // After a `kill -9` of the server its children take a moment to notice.
                Err(ClusterError::Program { output, .. })
                    if output.contains("is still in use") && Instant::now() < patience =>
                {
                    sleep(PAUSE * 10).await;
                }
                Ok(()) => {
                    tracing::info!(
                        url = self.url,
                        version = self.binaries.major,
                        "the private database runs"
                    );
                    return Ok(());
                }
                failed => return failed,
            }
        }
    }

    /// The process id of our server if it runs, once it is not on its way down; clears what a dead one left.
    async fn settled_server(&self) -> Result<Option<u32>, ClusterError> {
        let note = self.place.data.join("postmaster.pid");
        let patience = Instant::now() + PATIENCE;
        while let Some(pid) = self.server() {
            let stopping = fs::read_to_string(&note)
                .is_ok_and(|text| text.lines().nth(7).is_some_and(|status| status.trim() == "stopping"));
            if !stopping || patience <= Instant::now() {
                return Ok(Some(pid));
            }
            sleep(PAUSE).await;
        }
        if note.exists() {
            tracing::warn!("the private database was not stopped properly; it will recover");
            // Postgres checks only whether some process has that number. It is our turn, so nobody is starting a
            // server here, and of children that outlive a dead one Postgres knows by their shared memory.
            let socket = self.place.socket.join(SOCKET_NAME);
            for stale in [note, socket.with_added_extension("lock"), socket] {
                match fs::remove_file(&stale) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(ClusterError::io("remove", &stale, source));
                    }
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// The process id in `postmaster.pid`, if that process is a server of this data folder.
    ///
    /// The number alone proves nothing: after a restart of the machine it may be anybody's.
    fn server(&self) -> Option<u32> {
        let text = fs::read_to_string(self.place.data.join("postmaster.pid")).ok()?;
        let pid: u32 = text.lines().next()?.trim().parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = self.place.data.as_os_str().as_encoded_bytes();
        line.split(|&byte| byte == 0).any(|argument| argument == ours).then_some(pid)
    }

    /// Connects, patiently, and creates the database if it is not there.
    async fn ensure_database(&self) -> Result<(), ClusterError> {
        let url = self.place.url("postgres");
        let patience = Instant::now() + PATIENCE;
        let mut connection = loop {
            match PgConnection::connect(&url).await {
                Ok(connection) => break connection,
                Err(source) if patience <= Instant::now() => {
                    return Err(ClusterError::NotReady { log: self.place.log.clone(), source });
                }
                Err(_) => sleep(PAUSE).await,
            }
        };
        let known: Option<i32> = sqlx::query_scalar("select 1 from pg_database where datname = 'driftline'")
            .fetch_optional(&mut connection)
            .await
            .map_err(ClusterError::Create)?;
        if known.is_none() {
            sqlx::query("create database driftline")
                .execute(&mut connection)
                .await
                .map_err(ClusterError::Create)?;
        }
        connection.close().await.map_err(ClusterError::Create)
    }

    /// One of Postgres' programs, as the right user, in a folder that user can enter, without our `PG*` variables.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        if let Some(user) = &self.user {
            // Also clears the supplementary groups.
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Runs a program to its end.
    async fn run(&self, command: Command) -> Result<(), ClusterError> {
        let program = PathBuf::from(command.get_program());
        let log_start = fs::metadata(&self.place.log).map_or(0, |log| log.len());
        let output = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| ClusterError::io("run", &program, source))?;
        if output.status.success() {
            return Ok(());
        }
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        if let Ok(log) = fs::read(&self.place.log) {
            let new = log.get(usize::try_from(log_start).unwrap_or(0)..).unwrap_or_default();
            said.push_str(&String::from_utf8_lossy(new));
        }
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n    ");
        let (status, log) = (output.status, self.place.log.clone());
        Err(ClusterError::Program { program, status, output: format!("    {last}"), log })
    }

    /// Writes a file that the server can read, whatever our umask is.
    fn write(&self, path: &Path, text: &str) -> Result<(), ClusterError> {
        fs::write(path, text).map_err(|source| ClusterError::io("write", path, source))?;
        match &self.user {
            Some(user) => chown(path, Some(user.uid), Some(user.gid))
                .map_err(|source| ClusterError::io("give away", path, source)),
            None => Ok(()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(_alone) = self.let_go() {
            if self.server().is_none() {
                return;
            }
            let mut pg_ctl = self.command("pg_ctl");
            pg_ctl.args(["stop", "--silent", "--mode=fast", "--no-wait", "--pgdata"]).arg(&self.place.data);
            if let Err(error) = pg_ctl.stdout(Stdio::null()).stderr(Stdio::null()).status() {
                tracing::warn!(%error, "the private database could not be told to stop");
            }
        }
    }
}

/// Waits until no other process is starting or stopping this cluster; our turn ends when the file is dropped.
async fn take_turn(place: &Place) -> Result<File, ClusterError> {
    let path = place.home.join("turn.lock");
    let lock = open_lock(&path)?;
    let patience = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < patience => sleep(PAUSE).await,
            Err(TryLockError::WouldBlock) => return Err(ClusterError::Busy(path)),
            Err(TryLockError::Error(source)) => return Err(ClusterError::io("lock", &path, source)),
        }
    }
}

fn open_lock(path: &Path) -> Result<File, ClusterError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|source| ClusterError::io("open", path, source))
}

/// The major version of the data folder, or `None` if there is no such folder yet.
fn data_version(data: &Path) -> Result<Option<u32>, ClusterError> {
    if !data.exists() {
        return Ok(None);
    }
    fs::read_to_string(data.join("PG_VERSION"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map(Some)
        .ok_or_else(|| ClusterError::Damaged(data.to_path_buf()))
}

/// `pg_ctl` puts paths between double quotes and has a shell read them.
fn check_path(path: &Path) -> Result<(), ClusterError> {
    let harmful = |text: &str| text.contains(['"', '$', '`', '\\']) || text.contains(char::is_control);
    match path.to_str() {
        Some(text) if !harmful(text) => Ok(()),
        _ => Err(ClusterError::Path(path.to_path_buf())),
    }
}

/// Settings for a database beside a model server: a socket, little memory, nothing to replicate.
fn settings(socket: &Path) -> String {
    // A list of names: the double quotes keep a comma or a space from dividing it.
    let folder = socket.to_string_lossy().replace('\'', "''");
    format!(
        "# Written by driftline at every start; changes belong into postgresql.auto.conf (`alter system`).\n\
         listen_addresses = ''\n\
         port = 5432\n\
         unix_socket_directories = '\"{folder}\"'\n\
         unix_socket_permissions = 0700\n\
         max_connections = 100\n\
         shared_buffers = 32MB\n\
         maintenance_work_mem = 32MB\n\
         max_wal_size = 256MB\n\
         wal_level = minimal\n\
         max_wal_senders = 0\n\
         max_parallel_workers_per_gather = 0\n\
         jit = off\n\
         logging_collector = off\n\
         log_timezone = 'UTC'\n\
         timezone = 'UTC'\n"
    )
}
