//! A model server of our own, a tap in front of it, and raw connections to both.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use driftline::config::{ModelSettings, Settings, Tap};
use driftline::decode::Naming;
use driftline::metrics::Metrics;
use driftline::model::ModelName;
use driftline::tap::{
    DecodedExchange, ExchangeReceiver, Ledger, MinuteLosses, Proxy, Received, TapSettings, queue,
};
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_mins(1);

type Body = BoxBody<Bytes, std::io::Error>;

/// The moment at which everything in these tests happens.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// Frames that a test sends one by one.
struct Frames(mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::io::Error>>);

impl Stream for Frames {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// The test's hand on an answer that is sent frame by frame.
pub(crate) type FrameSender = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

/// A model server on loopback.
pub(crate) struct ModelServer {
    pub(crate) addr: SocketAddr,
    /// One sender per request to `/stream…` or to a model called `slow`; closed when the client is gone.
    pub(crate) streams: mpsc::UnboundedReceiver<FrameSender>,
    _tasks: JoinSet<()>,
}

impl ModelServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With TLS, if there is an acceptor.
    pub(crate) async fn start_with(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (sender, acceptor) = (sender.clone(), acceptor.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(request, sender.clone()));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    match acceptor {
                        None => {
                            let stream = TokioIo::new(stream);
                            let _ended = builder.serve_connection_with_upgrades(stream, service).await;
                        }
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            let stream = TokioIo::new(stream);
                            let _ended = builder.serve_connection_with_upgrades(stream, service).await;
                        }
                    }
                });
            }
        });
        Self { addr, streams, _tasks: tasks }
    }
}

/// What arrived, in a form that does not depend on the connection it came over.
fn echo(parts: &http::request::Parts, body: &[u8]) -> String {
    let mut lines: Vec<String> = parts
        .headers
        .iter()
        .filter(|(name, _)| *name != "connection")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    let sum: u64 = body.iter().enumerate().map(|(i, byte)| (i as u64 + 1) * u64::from(*byte)).sum();
    format!("{} {}\n{}\n{} bytes, sum {sum}\n", parts.method, parts.uri, lines.join("\n"), body.len())
}

async fn answer(
    request: Request<Incoming>,
    streams: mpsc::UnboundedSender<FrameSender>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/stream") || path.contains("/slow/") {
        let (sender, frames) = mpsc::unbounded_channel();
        streams.send(sender).unwrap();
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(Frames(frames))));
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
        return Ok(response);
    }
    if path == "/upgrade" {
        let mut request = request;
        let upgrade = hyper::upgrade::on(&mut request);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        tasks.detach_all();
        let response =
            Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        return Ok(response.body(full("")).unwrap());
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::new(full("cut")));
    };
    let body = body.to_bytes();
    let mut response = Response::new(full(""));
    match path.as_str() {
        "/204" => *response.status_mut() = StatusCode::NO_CONTENT,
        "/304" => *response.status_mut() = StatusCode::NOT_MODIFIED,
        "/418" => {
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
            *response.body_mut() = full("short and stout");
        }
        "/chunked" => {
            let (sender, frames) = mpsc::unbounded_channel();
            for chunk in ["one,", "two,", "three"] {
                sender.send(Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))).unwrap();
            }
            *response.body_mut() = BodyExt::boxed(StreamBody::new(Frames(frames)));
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = Full::new(body).with_trailers(async move { Some(Ok(trailers)) });
            *response.body_mut() = body.map_err(|never: Infallible| match never {}).boxed();
        }
        "/headers" => {
            for value in ["a=1", "b=2"] {
                response.headers_mut().append("set-cookie", HeaderValue::from_static(value));
            }
            response.headers_mut().insert("x-large", HeaderValue::from_str(&"v".repeat(30_000)).unwrap());
        }
        "/big" => *response.body_mut() = full(vec![b'x'; 3 << 20]),
        "/empty" => *response.body_mut() = Empty::new().map_err(|never| match never {}).boxed(),
        _ if path.ends_with("/infer") => {
            let rows = body.split(|byte| *byte == b'[').count().saturating_sub(4).max(1);
            let values = vec!["0.5"; rows].join(",");
            *response.body_mut() = full(format!(
                r#"{{"model_name":"m","model_version":"2","outputs":[{{"name":"y","shape":[{rows}],"datatype":"FP32","data":[{values}]}}]}}"#
            ));
        }
        _ if path.ends_with(":predict") => {
            let long = std::str::from_utf8(&body).is_ok_and(|body| body.contains("long answer"));
            let pad = if long { " ".repeat(100_000) } else { String::new() };
            *response.body_mut() = full(format!(r#"{{"predictions":[1]}}{pad}"#));
        }
        _ => *response.body_mut() = full(echo(&parts, &body)),
    }
    response.headers_mut().insert(HeaderName::from_static("x-served-by"), HeaderValue::from_static("test"));
    Ok(response)
}

/// A running tap.
pub(crate) struct Tapped {
    pub(crate) addr: SocketAddr,
    pub(crate) ledger: Ledger,
    pub(crate) metrics: Metrics,
    pub(crate) receiver: ExchangeReceiver,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinSet<()>,
}

pub(crate) async fn tap(upstream: SocketAddr) -> Tapped {
    tap_with(upstream, "").await
}

/// A tap with further lines of its `tap` section.
pub(crate) async fn tap_with(upstream: SocketAddr, lines: &str) -> Tapped {
    tap_to(&format!("http://{upstream}"), lines).await
}

/// The same for a whole address.
pub(crate) async fn tap_to(upstream: &str, lines: &str) -> Tapped {
    let text = format!(
        "tap:\n  upstream: {upstream}\n  event_time_header: x-event-time\n{lines}models:\n  - {{name: m}}\n  - {{name: slow}}\n  - {{name: custom, path: /my/model}}\n"
    );
    let settings = Settings::parse(&text, "test").unwrap();
    let Settings { tap, models, .. } = settings;
    start(tap, &models).await
}

/// A proxy of these settings that was refused.
pub(crate) async fn refused(upstream: &str, lines: &str) -> String {
    let text = format!("tap:\n  upstream: {upstream}\n{lines}");
    let settings = Settings::parse(&text, "test").unwrap();
    let metrics = Metrics::new().unwrap();
    let (queue, _receiver) = queue(1024, metrics.tap.queue_bytes.clone());
    let settings = TapSettings {
        tap: settings.tap,
        paths: HashMap::new(),
        ledger: Ledger::new([], &metrics),
        queue,
        metrics,
        now,
        grace: Duration::ZERO,
    };
    Proxy::bind("127.0.0.1:0".parse().unwrap(), settings).await.unwrap_err().to_string()
}

async fn start(tap: Tap, models: &[ModelSettings]) -> Tapped {
    let metrics = Metrics::new().unwrap();
    let names: Vec<ModelName> = models.iter().map(|model| model.name.clone()).collect();
    let ledger = Ledger::new(names, &metrics);
    let (queue, receiver) = queue(tap.queue_bytes.0, metrics.tap.queue_bytes.clone());
    let settings = TapSettings {
        tap,
        paths: TapSettings::paths(models),
        ledger: ledger.clone(),
        queue,
        metrics: metrics.clone(),
        now,
        grace: Duration::from_mins(1),
    };
    let proxy = Proxy::bind("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
    let addr = proxy.local_addr();
    let shutdown = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(proxy.run(shutdown.clone()));
    Tapped { addr, ledger, metrics, receiver, shutdown, running }
}

impl Tapped {
    /// The value of the metric that begins so, as it is exported.
    pub(crate) fn metric(&self, start: &str) -> f64 {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find(|line| line.starts_with(start));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{start} is not in\n{text}"))
    }

    /// Everything that was recorded so far, decoded and kept.
    pub(crate) fn decode_all(&self) -> Vec<DecodedExchange> {
        let mut decoded = Vec::new();
        while let Received::Exchange(recorded) = self.receiver.recv_timeout(Duration::ZERO) {
            decoded.extend(recorded.decode(&Naming::default()));
        }
        decoded
    }

    /// Seen and dropped so far; what is pending is recorded and not decoded.
    pub(crate) fn settled_or_nothing(&self, model: &str) -> (u64, u64) {
        let minutes = self.ledger.snapshot().into_iter().filter(|minute| minute.model.as_str() == model);
        minutes.fold((0, 0), |(seen, dropped), minute| {
            (seen + minute.losses.seen, dropped + minute.losses.dropped.values().sum::<u64>())
        })
    }

    /// Waits until nothing is pending, then gives the sums over all minutes.
    pub(crate) async fn settled(&self, model: &str) -> MinuteLosses {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{model}: {:?}", self.ledger.snapshot());
            let minutes: Vec<_> =
                self.ledger.snapshot().into_iter().filter(|minute| minute.model.as_str() == model).collect();
            if !minutes.is_empty() && minutes.iter().all(|minute| minute.pending == 0) {
                let mut sum = minutes[0].clone();
                for minute in &minutes[1..] {
                    sum.losses.seen += minute.losses.seen;
                    sum.losses.kept += minute.losses.kept;
                    sum.losses.sampled_out += minute.losses.sampled_out;
                    for (reason, count) in &minute.losses.dropped {
                        *sum.losses.dropped.entry(reason.clone()).or_default() += count;
                    }
                }
                return sum;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits for the exchange to be settled as dropped for `reason`, alone.
    pub(crate) async fn dropped(&self, model: &str, reason: &str) {
        let losses = self.settled(model).await.losses;
        let dropped: Vec<_> =
            losses.dropped.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        assert_eq!(dropped, [(reason, 1)]);
    }
}

/// Sends `bytes` over a connection of its own and reads until the other side closes.
pub(crate) async fn raw(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let (read, _written) = tokio::join!(reader.read_to_end(&mut answer), writer.write_all(bytes));
    read.unwrap();
    answer
}

/// A POST with a body and `Connection: close`.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: model.local\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The body of a raw answer.
pub(crate) fn body_of(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head");
    &answer[end + 4..]
}

/// Shares ownership with tasks.
pub(crate) fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}
