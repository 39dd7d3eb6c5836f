//! Sources that feed a replica: brokers of a test's own, connections that are cut, and programs that are killed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use driftline::app;
use driftline::config::Settings;
use driftline::metrics::Metrics;
use driftline::store;
use driftline::tap::{SourceContext, Sources};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ingest_support::{Replica, SETTINGS};
use crate::support;

/// A replica and the sources that feed it.
pub(crate) struct Sourced {
    pub(crate) metrics: Metrics,
    replica: Replica,
    stop: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
}

impl Sourced {
    /// A replica with the database of `url`, and `sources` as they stand in the settings.
    pub(crate) fn start(url: &str, sources: &str) -> Self {
        Self::start_with(url, "", sources)
    }

    /// Like [`Sourced::start`], with further lines of settings.
    pub(crate) fn start_with(url: &str, more: &str, sources: &str) -> Self {
        let more = format!("{more}sources:\n{sources}");
        let settings = Settings::parse(&format!("{SETTINGS}{more}"), "test").unwrap();
        let replica = Replica::start(url, &more);
        let metrics = replica.metrics.clone();
        let context =
            SourceContext { ingest: replica.ingest.clone(), metrics: metrics.clone(), now: app::now };
        let sources = Sources::build(&settings.sources, &context).unwrap();
        drop(context);
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(sources.run(store::pool(url, 3).unwrap(), stop.clone()));
        Self { metrics, replica, stop, running }
    }

    /// Ends sources and replica as a process that is told to.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
        self.replica.stop().await;
    }

    /// The counter of `name` for the source `s`.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let source = &self.metrics.source;
        let counter = match name {
            "messages" => &source.messages,
            "duplicates" => &source.duplicates,
            "redelivered" => &source.redelivered,
            "reconnects" => &source.reconnects,
            other => panic!("{other} is no counter"),
        };
        counter.with_label_values(&["s"]).get()
    }

    /// What was refused for `reason`.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        self.metrics.source.refused.with_label_values(&["s", reason]).get()
    }

    /// What held nothing for `reason`.
    pub(crate) fn skipped(&self, reason: &str) -> u64 {
        self.metrics.source.skipped.with_label_values(&["s", reason]).get()
    }
}

/// A port of loopback that is free at this moment.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something listens on `port`.
pub(crate) async fn listens(port: u16) {
    support::wait_for("a broker", || async { TcpStream::connect(("127.0.0.1", port)).await.ok() }).await;
}

/// A NATS server with `JetStream`, its files in a folder of its own.
pub(crate) struct NatsServer {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    process: Child,
}

impl NatsServer {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let process = Self::spawn(port, folder.path());
        listens(port).await;
        Self { port, folder, process }
    }

    fn spawn(port: u16, folder: &Path) -> Child {
        let program = std::env::var("DRIFTLINE_NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
        Command::new(&program)
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("`{program}` cannot be run ({error}): `make setup` installs it"))
    }

    /// Kills it, without any warning.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts it again with the same files.
    pub(crate) async fn restart(&mut self) {
        self.process = Self::spawn(self.port, self.folder.path());
        listens(self.port).await;
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

/// A way to a server that can be shut; connections that are open are cut.
pub(crate) struct Gate {
    address: SocketAddr,
    server: SocketAddr,
    /// Bound and never listening, so that the port stays ours while the gate is shut.
    _reservation: TcpSocket,
    open: JoinSet<()>,
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

impl Gate {
    /// An open gate to `server`.
    pub(crate) fn open(server: SocketAddr) -> Self {
        let reservation = socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = reservation.local_addr().unwrap();
        let mut gate = Self { address, server, _reservation: reservation, open: JoinSet::new() };
        gate.reopen();
        gate
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn reopen(&mut self) {
        let listener = socket(self.address).listen(64).unwrap();
        self.open.spawn(serve(listener, self.server));
    }

    pub(crate) async fn shut(&mut self) {
        self.open.shutdown().await;
    }
}

async fn serve(listener: TcpListener, server: SocketAddr) {
    let mut pipes = JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        pipes.spawn(async move {
            let mut server = TcpStream::connect(server).await.unwrap();
            // Either end may go at any time; that is what the gate is for.
            copy_bidirectional(&mut client, &mut server).await.ok();
        });
    }
}

/// The program `driftline`, running with sources.
pub(crate) struct Sidecar {
    folder: tempfile::TempDir,
    process: Child,
}

impl Sidecar {
    /// Starts it with the database of `url`, and `sources` as they stand in the settings.
    pub(crate) fn start(url: &str, sources: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n{SETTINGS}sources:\n{sources}"
        );
        std::fs::write(folder.path().join("driftline.yaml"), settings).unwrap();
        let process = Self::spawn(folder.path());
        Self { folder, process }
    }

    fn spawn(folder: &Path) -> Child {
        Command::new(env!("CARGO_BIN_EXE_driftline"))
            .args(["--config", "driftline.yaml", "run"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Kills it in whatever it is at, and starts it again.
    pub(crate) async fn kill_and_start(&mut self) {
        self.process.kill().await.unwrap();
        self.process = Self::spawn(self.folder.path());
    }

    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// A prediction without an id, so that only its message tells whether it was counted.
pub(crate) fn prediction(number: usize) -> String {
    format!(r#"{{"model":"m","features":{{"x":{number}}},"outputs":{{"y":1}}}}"#)
}

/// Some predictions, one a line.
pub(crate) fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| prediction(number) + "\n").collect()
}

/// A folder, and a path in it.
pub(crate) fn in_folder(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}
