//! The sidecar is killed between every pair of steps of a delivery: claimed, sent, marked.

use std::process::Stdio;

use driftline::alert::Occasion;
use driftline::store::{PgPool, outbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use super::{message, queue, states};
use crate::support;

/// The sidecar with one webhook at `hook`.
struct Sidecar {
    folder: tempfile::TempDir,
}

impl Sidecar {
    fn new(database: &str, hook: &TcpListener) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hook = hook.local_addr().unwrap();
        let settings = format!(
            "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{database}'}}\n\
             receivers: {{hook: {{webhook: {{url: 'http://{hook}/', allow_private: true}}}}}}\n"
        );
        std::fs::write(folder.path().join("driftline.yaml"), settings).unwrap();
        Self { folder }
    }

    fn start(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_driftline"))
            .args(["--config", "driftline.yaml", "run"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}

/// Takes the next connection and reads a whole request; returns it with its `webhook-id`.
async fn request(hook: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = hook.accept().await.unwrap();
    let mut read = Vec::new();
    loop {
        let mut chunk = [0; 8192];
        let count = stream.read(&mut chunk).await.unwrap();
        read.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            let line =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned));
            line.unwrap_or_else(|| panic!("no {name} in {head}")).trim().to_owned()
        };
        if body.len() >= header("content-length:").parse::<usize>().unwrap() {
            return (stream, header("webhook-id:"));
        }
    }
}

async fn answer(stream: &mut TcpStream) {
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
}

/// As if the lease of the killed process had run out.
async fn end_leases(pool: &PgPool) {
    sqlx::query("update outbox set lease_until = now() - interval '1 second' where lease_until is not null")
        .execute(pool)
        .await
        .unwrap();
}

async fn wait_for_state(pool: &PgPool, wanted: &str) {
    support::wait_for(wanted, || async { (states(pool).await[0].0 == wanted).then_some(()) }).await;
}

#[tokio::test]
async fn a_process_killed_at_any_step_delivers_at_least_once_under_the_same_id() {
    let (pool, url) = crate::database::database_with_url().await;
    let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sidecar = Sidecar::new(&url, &hook);
    let sent = message("hook", "a", 1, Occasion::Began);
    queue(&pool, std::slice::from_ref(&sent)).await;

    // Claimed and not sent: the connection is there, not a byte of it was read.
    let mut process = sidecar.start();
    let (stream, _) = hook.accept().await.unwrap();
    process.kill().await.unwrap();
    drop(stream);
    assert_eq!(states(&pool).await, [("queued".to_owned(), 1)], "it was claimed");

    // Sent and not answered: the receiver has it, the process does not know.
    end_leases(&pool).await;
    process = sidecar.start();
    let (stream, id) = request(&hook).await;
    process.kill().await.unwrap();
    drop(stream);
    assert_eq!(id, sent.id.to_string());
    assert_eq!(states(&pool).await, [("queued".to_owned(), 2)]);

    // Answered and not marked: a lock on the row keeps the mark from being written.
    end_leases(&pool).await;
    process = sidecar.start();
    let (mut stream, id) = request(&hook).await;
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("select 1 from outbox for update").execute(&mut *lock).await.unwrap();
    answer(&mut stream).await;
    support::wait_for("the mark that waits", || async {
        let waiting = "select count(*) from pg_stat_activity
                       where wait_event_type = 'Lock' and query like 'update outbox%' and datname = current_database()";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&pool).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    process.kill().await.unwrap();
    // The server notices a client that is gone only when it writes to it: end what waits, as it would.
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where wait_event_type = 'Lock' and query like 'update outbox%' and datname = current_database()",
    )
    .execute(&pool)
    .await
    .unwrap();
    lock.rollback().await.unwrap();
    assert_eq!(id, sent.id.to_string());
    assert_eq!(states(&pool).await, [("queued".to_owned(), 3)]);

    // Marked: it comes once more under its id, and not again after that.
    end_leases(&pool).await;
    process = sidecar.start();
    let (mut stream, id) = request(&hook).await;
    answer(&mut stream).await;
    assert_eq!(id, sent.id.to_string());
    wait_for_state(&pool, "sent").await;
    process.kill().await.unwrap();
    let process = sidecar.start();
    queue(&pool, &[message("hook", "b", 2, Occasion::Began)]).await;
    let (mut stream, id) = request(&hook).await;
    answer(&mut stream).await;
    assert_eq!(id, message("hook", "b", 2, Occasion::Began).id.to_string(), "the next one is another");
    let counts = outbox::counts(&pool).await.unwrap();
    assert_eq!(counts.iter().map(|count| count.messages).sum::<i64>(), 2, "{counts:?}");
    drop(process);
}
