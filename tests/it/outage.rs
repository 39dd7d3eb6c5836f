//! The database away, at start and in flight: predictions go on, recording resumes, nothing is lost.
#![expect(clippy::disallowed_methods, reason = "a test awaits what it spawned")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::routing::post;
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use driftline::app::{self, App};
use driftline::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::model::{ModelName, Role, Value};
use driftline::store::PgPool;
use serde_json::{Value as Wire, json};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support;

/// A TCP port in front of Postgres that can be shut: connections are cut then, and new ones refused.
pub(crate) struct Door {
    address: SocketAddr,
    server: PgConnectOptions,
    /// Bound and never listening, so that the port stays ours while the door is shut.
    _reservation: TcpSocket,
    open: JoinSet<()>,
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn pipe(mut client: TcpStream, mut server: impl AsyncRead + AsyncWrite + Unpin) {
    // Either end may go at any time; that is what the door is for.
    copy_bidirectional(&mut client, &mut server).await.ok();
}

async fn serve(listener: TcpListener, server: PgConnectOptions) {
    let mut pipes = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = server.clone();
        pipes.spawn(async move {
            if let Some(folder) = server.get_socket() {
                let path: PathBuf = folder.join(format!(".s.PGSQL.{}", server.get_port()));
                pipe(client, UnixStream::connect(path).await.unwrap()).await;
            } else {
                let address = (server.get_host(), server.get_port());
                pipe(client, TcpStream::connect(address).await.unwrap()).await;
            }
        });
    }
}

impl Door {
    /// A door that is shut, and the URL of the same database through it.
    pub(crate) fn shut(url: &str) -> (Self, String) {
        let server: PgConnectOptions = url.parse().unwrap();
        let reservation = socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = reservation.local_addr().unwrap();
        let authority = url.split_once("://").unwrap().1.split(['/', '?']).next().unwrap();
        let login = authority.rsplit_once('@').map_or(server.get_username(), |(login, _)| login);
        let through = format!("postgres://{login}@{address}/{}", server.get_database().unwrap());
        (Self { address, server, _reservation: reservation, open: JoinSet::new() }, through)
    }

    pub(crate) fn open(&mut self) {
        let listener = socket(self.address).listen(64).unwrap();
        self.open.spawn(serve(listener, self.server.clone()));
    }

    pub(crate) async fn close(&mut self) {
        self.open.shutdown().await;
    }
}

fn model() -> ModelName {
    ModelName::parse("m").unwrap()
}

fn reference() -> Baseline {
    let values: Vec<Value> = (0..500).map(|i| Value::Number(f64::from(i))).collect();
    let columns = [SourceColumn { name: "x", role: Role::Feature, kind: None, values: &values }];
    let options =
        BuildOptions { model: model(), source: "reference".into(), cut: CutOptions::default(), joint: true };
    baseline::build(&columns, None, options).unwrap()
}

/// The minute of event time at which counted traffic begins; what is sent earlier only tries things out.
fn begin() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

/// A sidecar in front of a model server, and a client.
struct Loop {
    pool: PgPool,
    door: Door,
    client: reqwest::Client,
    proxy: String,
    admin: String,
    sent: BTreeSet<String>,
    shutdown: CancellationToken,
    sidecar: JoinHandle<anyhow::Result<()>>,
    model_server: JoinHandle<()>,
}

impl Loop {
    /// Four threads decode, so that what holds of one holds of several; `tap` is more of that section.
    async fn start(pool: PgPool, door: Door, url: &str, tap: &str) -> Self {
        app::install_crypto();
        let shutdown = CancellationToken::new();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let text = format!(
            "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\n\
             database: {{url: '{url}'}}\n\
             tap: {{upstream: 'http://{}', event_time_header: x-event-time, decode_threads: 4{tap}}}\n\
             models: [{{name: m, window: 1d, training: {{task: regression, target: y}}}}]\n",
            upstream.local_addr().unwrap()
        );
        let answer = json!({ "model_name": "m", "outputs": [
            { "name": "prediction", "datatype": "FP64", "shape": [1], "data": [1.5] }] });
        let served = Router::new().route("/v2/models/m/infer", post(async move || Json(answer)));
        let stop = shutdown.clone();
        let model_server = tokio::task::spawn(async move {
            axum::serve(upstream, served).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
        });
        let app = App::build(Settings::parse(&text, "driftline.yaml").unwrap()).await.unwrap();
        Self {
            pool,
            door,
            client: reqwest::Client::new(),
            proxy: format!("http://{}", app.proxy_address().unwrap()),
            admin: format!("http://{}", app.admin_address()),
            sent: BTreeSet::new(),
            sidecar: tokio::task::spawn(app.run(shutdown.clone().cancelled_owned())),
            shutdown,
            model_server,
        }
    }

    /// Sends one prediction and expects the model's answer, whatever became of the database.
    async fn predict(&self, id: &str, time: DateTime<Utc>) {
        let answer = self
            .client
            .post(format!("{}/v2/models/m/infer", self.proxy))
            .header("x-request-id", id)
            .header("x-event-time", time.to_rfc3339())
            .json(&json!({ "inputs": [{ "name": "x", "datatype": "FP64", "shape": [1], "data": [7.0] }] }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Wire>().await.unwrap()["outputs"][0]["data"][0], 1.5);
    }

    /// Sends `count` predictions, ten per minute of event time.
    async fn send(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.sent.len();
            let id = format!("p-{number:04}");
            let minute = i64::try_from(number / 10).unwrap();
            self.predict(&id, begin() + TimeDelta::minutes(minute)).await;
            self.sent.insert(id);
        }
    }

    /// Tries until rows are profiled on the active baseline.
    async fn profiling(&self) {
        support::wait_for("a profiled row", || async {
            self.predict("trial", begin() - TimeDelta::hours(1)).await;
            self.number("select count(*) from profile_part").await.filter(|&parts| parts > 0)
        })
        .await;
    }

    async fn number(&self, query: &'static str) -> Option<i64> {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.ok()
    }

    async fn registered(&self) {
        support::wait_for("the model in a migrated database", || async {
            assert!(!self.sidecar.is_finished(), "the sidecar has ended");
            self.number("select count(*) from model where name = 'm'").await.filter(|&models| models == 1)
        })
        .await;
    }

    async fn ready(&self) -> String {
        let answer = self.client.get(format!("{}/readyz", self.admin)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Wire>().await.unwrap()["database"].as_str().unwrap().to_owned()
    }

    async fn alive_without_database(&self) {
        let live = self.client.get(format!("{}/livez", self.admin)).send().await.unwrap();
        assert_eq!(live.status(), 200);
        let said = support::wait_for("the news that the database is away", || async {
            Some(self.ready().await).filter(|said| said != "ok")
        })
        .await;
        assert!(said.starts_with("away"), "{said}");
    }

    async fn all_captured(&self) {
        let expected = i64::try_from(self.sent.len()).unwrap();
        support::wait_for("every sent row in the database", || async {
            let captured = self.number("select count(*) from captured_row where row_id <> 'trial'").await?;
            assert!(captured <= expected, "{captured} of {expected}");
            (captured == expected).then_some(())
        })
        .await;
    }

    /// Stops everything; what was sent has to be there exactly once, and counted.
    async fn stop(mut self) -> PgPool {
        self.shutdown.cancel();
        self.sidecar.await.unwrap().unwrap();
        self.model_server.await.unwrap();
        self.door.close().await;
        let captured: Vec<String> =
            sqlx::query_scalar("select row_id from captured_row where row_id <> 'trial' order by row_id")
                .fetch_all(&self.pool)
                .await
                .unwrap();
        assert_eq!(captured, self.sent.iter().cloned().collect::<Vec<_>>());
        let (seen, kept, sampled_out, dropped): (i64, i64, i64, i64) = sqlx::query_as(
            "select sum(seen)::bigint, sum(kept)::bigint, sum(sampled_out)::bigint,
                    count(*) filter (where dropped <> '{}')
             from tap_part where minute >= $1",
        )
        .bind(begin())
        .fetch_one(&self.pool)
        .await
        .unwrap();
        assert_eq!(seen, i64::try_from(self.sent.len()).unwrap());
        assert_eq!((seen, 0, 0), (kept, sampled_out, dropped));
        self.pool
    }
}

async fn profiled(pool: &PgPool) -> usize {
    let rows: Option<i64> =
        sqlx::query_scalar("select sum(row_count)::bigint from profile_part where minute >= $1")
            .bind(begin())
            .fetch_one(pool)
            .await
            .unwrap();
    usize::try_from(rows.unwrap_or(0)).unwrap()
}

/// A database as it is before driftline has ever seen it.
async fn bare_database() -> (PgPool, String) {
    let (pool, url) = support::database_with_url().await;
    sqlx::raw_sql("drop schema public cascade; create schema public").execute(&pool).await.unwrap();
    (pool, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_brings_an_empty_database_up_to_date() {
    let (pool, url) = bare_database().await;
    let (mut door, through) = Door::shut(&url);
    door.open();
    let mut running = Loop::start(pool, door, &through, "").await;
    running.send(10).await;
    running.registered().await;
    running.all_captured().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_starts_before_its_database_loses_nothing() {
    let (pool, url) = bare_database().await;
    let (door, through) = Door::shut(&url);
    let mut running = Loop::start(pool, door, &through, "").await;

    running.send(40).await;
    running.alive_without_database().await;
    running.send(40).await;

    running.door.open();
    running.registered().await;
    running.all_captured().await;
    assert_eq!(running.ready().await, "ok");
    let before = running.sent.len();

    app::register_baseline(&running.pool, &reference()).await.unwrap();
    running.profiling().await;
    running.send(20).await;
    let sent = running.sent.len();
    let pool = running.stop().await;
    assert_eq!(profiled(&pool).await, sent - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_in_flight_loses_nothing_and_counts_nothing_twice() {
    let (pool, url) = support::database_with_url().await;
    app::register_baseline(&pool, &reference()).await.unwrap();
    let (mut door, through) = Door::shut(&url);
    door.open();
    let mut running = Loop::start(pool, door, &through, "").await;
    running.profiling().await;

    running.send(40).await;
    for _ in 0..2 {
        running.door.close().await;
        running.send(60).await;
        running.alive_without_database().await;
        running.send(60).await;
        running.door.open();
        running.send(20).await;
        running.all_captured().await;
    }
    // Connections that are cut again and again, in whatever they are at.
    for _ in 0..30 {
        running.send(5).await;
        running.door.close().await;
        running.send(5).await;
        running.door.open();
    }
    running.all_captured().await;

    let sent = running.sent.len();
    let pool = running.stop().await;
    assert_eq!(profiled(&pool).await, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_a_shutdown_ends_is_settled_to_the_last_exchange() {
    let (pool, url) = support::database_with_url().await;
    app::register_baseline(&pool, &reference()).await.unwrap();
    let (mut door, through) = Door::shut(&url);
    door.open();
    let running = Loop::start(pool, door, &through, ", queue_bytes: 64KiB").await;
    running.profiling().await;
    let mut clients = JoinSet::new();
    for client in 0..16 {
        let (http, address) = (running.client.clone(), format!("{}/v2/models/m/infer", running.proxy));
        clients.spawn(async move {
            let mut answered = 0;
            for number in 0..150 {
                let body = json!({ "pad": "x".repeat(4_000),
                    "inputs": [{ "name": "x", "datatype": "FP64", "shape": [1], "data": [number] }] });
                let time = begin() + TimeDelta::minutes(number % 5);
                let request = http
                    .post(&address)
                    .header("x-request-id", format!("{client}-{number}"))
                    .header("x-event-time", time.to_rfc3339());
                match request.json(&body).send().await {
                    Ok(answer) => answered += i64::from(answer.status() == 200),
                    // The sidecar has gone.
                    Err(_) => break,
                }
            }
            answered
        });
    }
    support::wait_for("a part of the flood in the database", || async {
        running.number("select sum(kept)::bigint from tap_part").await.filter(|&kept| kept > 100)
    })
    .await;
    running.shutdown.cancel();
    let answered: i64 = clients.join_all().await.into_iter().sum();
    running.sidecar.await.unwrap().unwrap();
    running.model_server.await.unwrap();

    let (seen, kept, sampled_out): (i64, i64, i64) = sqlx::query_as(
        "select sum(seen)::bigint, sum(kept)::bigint, sum(sampled_out)::bigint from tap_part where minute >= $1",
    )
    .bind(begin())
    .fetch_one(&running.pool)
    .await
    .unwrap();
    let dropped: i64 = sqlx::query_scalar(
        "select coalesce(sum(value::bigint), 0)::bigint from tap_part, jsonb_each_text(dropped) where minute >= $1",
    )
    .bind(begin())
    .fetch_one(&running.pool)
    .await
    .unwrap();
    assert_eq!(seen, kept + sampled_out + dropped);
    assert!(answered <= seen && kept > 0, "{answered} answered, {seen} seen, {kept} kept");
    assert_eq!(i64::try_from(profiled(&running.pool).await), Ok(kept));
}
