//! The demo's mail server and webhook endpoint: real conversations on loopback, and what arrived is shown.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Something that arrived.
#[derive(Debug)]
pub(super) enum Arrival {
    /// An e-mail: envelope recipients and the message as sent.
    Mail { to: Vec<String>, content: String },
    /// A webhook: its id header, and the body.
    Webhook { id: String, signed: bool, body: String },
}

/// Speaks SMTP (RFC 5321, without extensions) on `listener` until shutdown.
pub(super) async fn serve_mail(
    listener: TcpListener,
    arrivals: UnboundedSender<Arrival>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut conversations = JoinSet::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let (stream, _) = accepted?;
        let arrivals = arrivals.clone();
        conversations.spawn(async move {
            if let Err(error) = converse(stream, &arrivals).await {
                tracing::debug!(%error, "a mail conversation broke off");
            }
        });
    }
    Ok(())
}

async fn converse(stream: TcpStream, arrivals: &UnboundedSender<Arrival>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 demo ready\r\n").await?;
    let mut to = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let command = line.to_ascii_uppercase();
        let answer: &[u8] = if command.starts_with("RCPT TO:") {
            to.push(line[8..].trim().trim_matches(['<', '>']).to_owned());
            b"250 ok\r\n"
        } else if command == "DATA" {
            write.write_all(b"354 go ahead\r\n").await?;
            let mut content = String::new();
            while let Some(line) = lines.next_line().await? {
                if line == "." {
                    break;
                }
                content.push_str(line.strip_prefix('.').unwrap_or(&line));
                content.push('\n');
            }
            let mail = Arrival::Mail { to: std::mem::take(&mut to), content };
            if arrivals.send(mail).is_err() { b"451 the demo is over\r\n" } else { b"250 taken\r\n" }
        } else if command == "QUIT" {
            write.write_all(b"221 bye\r\n").await?;
            return Ok(());
        } else {
            b"250 ok\r\n"
        };
        write.write_all(answer).await?;
    }
    Ok(())
}

/// Takes webhooks on `listener` until shutdown.
pub(super) async fn serve_webhook(
    listener: TcpListener,
    arrivals: UnboundedSender<Arrival>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let routes = Router::new().route("/hook", post(take)).with_state(arrivals);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    Ok(())
}

async fn take(
    State(arrivals): State<UnboundedSender<Arrival>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header =
        |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let signed = !header("webhook-signature").is_empty();
    let body = String::from_utf8_lossy(&body).into_owned();
    match arrivals.send(Arrival::Webhook { id: header("webhook-id"), signed, body }) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
