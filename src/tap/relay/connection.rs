//! A client's connection: one request after the other until either side has enough.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::answer::{absent, refuse};
use super::buffer::Buffer;
use super::direction::Direction;
use super::exchange::{Exchange, Outcome, Progress};
use super::head::{Refusal, may_be_whole};
use super::request::{Begun, begin};
use super::stream::{Prefixed, Stream};
use super::timer::Timer;
use crate::tap::absent::Absent;
use crate::tap::proxy::Shared;

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often a request is offered to the model server that did not take a byte of it.
const ATTEMPTS: usize = 3;
/// How long a client may go on sending that has its last answer. Without it the answer could be lost.
const LINGER: Duration = Duration::from_secs(1);
/// What is read of a client at most before there is a connection to the model server.
const AHEAD_BYTES: usize = 64 << 10;

/// What became of a connection.
#[derive(Debug)]
pub(in crate::tap) enum Served {
    /// It has ended.
    Ended,
    /// The client speaks HTTP/2.
    Http2(Prefixed),
}

/// Serves a client's connection until it ends.
pub(in crate::tap) async fn serve(
    client: Stream,
    shared: &Shared,
    thread: usize,
    shutdown: &CancellationToken,
) -> Served {
    let mut connection = Connection {
        client,
        shared,
        thread,
        shutdown,
        up: Direction::new(Buffer::default()),
        down: Direction::new(Buffer::default()),
        timer: Timer::new(),
        is_first: true,
    };
    let mut cancelled = pin!(shutdown.cancelled());
    loop {
        match connection.next(cancelled.as_mut()).await {
            Next::Begun(begun) => {
                if !connection.exchange(begun).await {
                    return Served::Ended;
                }
            }
            Next::Http2 => {
                let Connection { client: stream, up, .. } = connection;
                return Served::Http2(Prefixed { first: up.buffer, stream });
            }
            Next::Refused(refusal) => {
                connection.refuse(refusal).await;
                return Served::Ended;
            }
            Next::Over => return Served::Ended,
        }
    }
}

enum Next {
    Begun(Begun),
    Http2,
    Refused(Refusal),
    /// The client has left, or took too long.
    Over,
}

struct Connection<'s> {
    client: Stream,
    shared: &'s Shared,
    /// The proxy's thread that serves it, by number.
    thread: usize,
    shutdown: &'s CancellationToken,
    up: Direction,
    down: Direction,
    timer: Timer,
    /// Nothing was asked yet.
    is_first: bool,
}

/// One more request in flight, until dropped.
struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Connection<'_> {
    /// Waits for the head of a request.
    async fn next(&mut self, mut cancelled: Pin<&mut WaitForCancellationFuture<'_>>) -> Next {
        let tap = self.shared.tap();
        let after = |limit: Option<crate::config::Span>| limit.map(|limit| Instant::now() + limit.0);
        self.up.buffer.rest();
        self.down.buffer.rest();
        let mut searched = 0;
        loop {
            let bytes = self.up.buffer.bytes();
            let is_idle = bytes.is_empty();
            if is_idle {
                self.timer.set(after(tap.idle_timeout));
            } else {
                let may_be_http2 =
                    self.is_first && PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]);
                if may_be_http2 && bytes.len() >= PREFACE.len() {
                    return Next::Http2;
                }
                if !may_be_http2 && may_be_whole(bytes, searched) {
                    match begin(self.shared, &mut self.up) {
                        Ok(Some(begun)) => {
                            self.is_first = false;
                            return Next::Begun(begun);
                        }
                        Ok(None) => {}
                        Err(refusal) => return Next::Refused(refusal),
                    }
                }
                if searched == 0 {
                    self.timer.set(after(tap.header_timeout));
                }
                searched = self.up.buffer.len();
                if searched >= tap.header_bytes.0 {
                    return Next::Refused(Refusal::TooLarge);
                }
            }
            let Self { up, client, timer, .. } = &mut *self;
            let read = poll_fn(|cx| {
                if let Poll::Ready(read) = up.buffer.poll_fill(cx, client) {
                    return Poll::Ready(read.unwrap_or(0));
                }
                let is_over = timer.poll_due(cx).is_ready()
                    || is_idle && Future::poll(cancelled.as_mut(), cx).is_ready();
                if is_over { Poll::Ready(0) } else { Poll::Pending }
            });
            if read.await == 0 {
                return Next::Over;
            }
        }
    }

    /// Forwards one request; false when the connection has ended with it.
    async fn exchange(&mut self, mut begun: Begun) -> bool {
        let gauge = &self.shared.settings.metrics.proxy.in_flight;
        gauge.inc();
        let in_flight = InFlight(gauge.clone());
        let sent = Instant::now();
        if begun.is_connect {
            return self.unanswered(Absent::Connect, begun, sent).await;
        }
        self.timer.set(self.shared.tap().request_timeout.map(|limit| begun.started + limit.0));
        if let Some(observing) = &mut begun.observing {
            observing.sent(sent);
        }
        for _ in 0..ATTEMPTS {
            let Some(connected) = self.connect(&begun).await else { return false };
            let mut upstream = match connected {
                Ok(stream) => stream,
                Err(absent) => return self.unanswered(absent, begun, sent).await,
            };
            let mut exchange = Exchange {
                shared: self.shared,
                shutdown: self.shutdown,
                client: &mut self.client,
                upstream: &mut upstream,
                up: &mut self.up,
                down: &mut self.down,
                timer: &mut self.timer,
                begun: &mut begun,
                sent,
                progress: Progress::default(),
            };
            match poll_fn(|cx| exchange.poll(cx)).await {
                Outcome::Answered { keep, reuse } => {
                    if reuse {
                        begun.upstream.keep_stream(self.thread, upstream);
                    } else {
                        self.down.buffer = Buffer::default();
                        drop(upstream);
                    }
                    drop(in_flight);
                    if !keep {
                        let is_sending = !self.up.is_done();
                        self.close(is_sending).await;
                    }
                    return keep;
                }
                Outcome::Switched => {
                    drop(in_flight);
                    self.tunnel(upstream).await;
                    return false;
                }
                Outcome::Unsent => {}
                Outcome::Absent(absent) => {
                    tracing::warn!(
                        upstream = begun.upstream.authority(),
                        reason = absent.reason(),
                        "the model server did not answer"
                    );
                    drop(upstream);
                    return self.unanswered(absent, begun, sent).await;
                }
                Outcome::Refused => {
                    drop(upstream);
                    begun.refused();
                    self.refuse(Refusal::Malformed).await;
                    return false;
                }
                Outcome::Broken => return false,
            }
        }
        self.unanswered(Absent::Unreachable, begun, sent).await
    }

    /// A connection to the model server, an unused one if there is one; nothing when the client has left meanwhile.
    async fn connect(&mut self, begun: &Begun) -> Option<Result<Stream, Absent>> {
        // Servers close after HTTP/1.0, some of them without saying so.
        if !begun.speech.is_http10
            && let Some(stream) = begun.upstream.unused_stream(self.thread)
        {
            return Some(Ok(stream));
        }
        let mut opening = pin!(begun.upstream.open_stream());
        let Self { up, client, timer, .. } = self;
        poll_fn(|cx| {
            if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                return Poll::Ready(Some(opened.map_err(|error| {
                    tracing::warn!(%error, upstream = begun.upstream.authority(), "the model server was not reached");
                    Absent::Unreachable
                })));
            }
            while up.buffer.len() < AHEAD_BYTES {
                match up.buffer.poll_fill(cx, client) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(None),
                }
            }
            timer.poll_due(cx).map(|()| Some(Err(Absent::TimedOut)))
        })
        .await
    }

    /// There is no answer of the model server: the client learns why, and the exchange is settled.
    async fn unanswered(&mut self, why: Absent, mut begun: Begun, sent: Instant) -> bool {
        self.shared.count(why.status().as_u16());
        if let Some(observing) = begun.observing.take() {
            let overhead = sent - begun.started;
            observing.unanswered(why.shown(begun.speech.is_grpc), why.reason(), sent.elapsed(), overhead);
        }
        let is_complete = self.up.framing.is_done();
        let keep = begun.keep && is_complete && why != Absent::Connect && !self.shutdown.is_cancelled();
        if !self.down.is_done() {
            // An interim answer is stuck half-way.
            return false;
        }
        absent(self.down.new_head(), why, begun.speech, keep);
        self.up.give_up();
        self.down.buffer = Buffer::default();
        self.answer().await && {
            if !keep {
                self.close(!is_complete).await;
            }
            keep
        }
    }

    /// Says that a request is none, and ends the connection: where the next one begins is unknown.
    async fn refuse(&mut self, refusal: Refusal) {
        if !self.down.is_done() {
            return;
        }
        let status = refuse(self.down.new_head(), refusal);
        self.shared.count(status.as_u16());
        if self.answer().await {
            self.close(true).await;
        }
    }

    /// Writes an answer of the proxy itself.
    async fn answer(&mut self) -> bool {
        self.down.framing = super::framing::Framing::Length(0);
        let Self { down, client, .. } = self;
        poll_fn(|cx| down.poll_pass(cx, client)).await.is_ok()
    }

    /// Ends the connection, so that the last answer arrives although the client `is_sending`.
    async fn close(&mut self, is_sending: bool) {
        if self.client.shutdown().await.is_err() || !is_sending {
            return;
        }
        let rest = async {
            let mut rest = [0; 4096];
            while matches!(self.client.read(&mut rest).await, Ok(1..)) {}
        };
        if tokio::time::timeout(LINGER, rest).await.is_err() {
            tracing::debug!("a client went on sending after its last answer");
        }
    }

    /// Passes bytes both ways once both sides have changed their protocol.
    async fn tunnel(&mut self, mut upstream: Stream) {
        let relayed = async {
            self.client.write_all(self.down.buffer.bytes()).await?;
            self.client.flush().await?;
            upstream.write_all(self.up.buffer.bytes()).await?;
            upstream.flush().await?;
            (self.up.buffer, self.down.buffer) = (Buffer::default(), Buffer::default());
            tokio::io::copy_bidirectional(&mut self.client, &mut upstream).await
        };
        // Either side may break off at any time; that is the end of the tunnel and no more.
        if let Err(error) = relayed.await {
            tracing::debug!(%error, "a tunnel ended");
        }
    }
}
