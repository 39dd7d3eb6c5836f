//! One file's content on its way into the database, its position with it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use tokio_util::sync::CancellationToken;

use super::lines::Cutting;
use super::position::FilePosition;
use super::scan::Kind;
use super::table::{self, Meaning};
use super::track::{Next, Tracked, Work};
use super::{Processed, Reader, monitor};
use crate::config::FileFormat;
use crate::decode::events::{self, Event, EventFormat, Events, MonitorLog, MonitorSchema};
use crate::frames::FrameError;
use crate::model::Exchange;
use crate::store;
use crate::tap::ingest::{Content, FORMAT, Position};

/// Messages of one file before the folders are looked at again.
const MESSAGES: usize = 64;

/// Rows of a table that one message holds.
const ROWS: usize = 1000;

/// How long a message that was handed over may take when the process ends.
const DRAIN: Duration = Duration::from_secs(10);

/// What a file holds, as it goes on.
enum Payload {
    Wire { kind: &'static str, body: Bytes },
    Events { events: Vec<Event>, bytes: usize },
    Rows(Vec<Exchange>),
}

impl Payload {
    fn nothing() -> Self {
        Self::Rows(Vec::new())
    }

    fn len(&self) -> usize {
        match self {
            Self::Wire { body, .. } => body.len(),
            Self::Events { bytes, .. } => *bytes,
            Self::Rows(_) => 0,
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::Rows(rows) if rows.is_empty())
    }

    /// What is handed over; `format` is what the settings say, where they do.
    fn content(self, format: FileFormat) -> Content {
        match self {
            Self::Wire { kind, body } => {
                let mut headers = vec![("content-type".to_owned(), kind.to_owned())];
                let format = match format {
                    FileFormat::SagemakerCapture => Some("sagemaker"),
                    // Exported files are events like any other.
                    FileFormat::Azure => Some("cloudevents"),
                    FileFormat::KserveBlob => Some("kserve_blob"),
                    _ => None,
                };
                headers.extend(format.map(|format| (FORMAT.to_owned(), format.to_owned())));
                Content::Wire { headers, body }
            }
            Self::Events { events, .. } => Content::Events(events),
            Self::Rows(exchanges) => Content::Exchanges(exchanges),
        }
    }
}

impl Reader {
    /// Reads what there is of a file now.
    pub(super) async fn process(
        &self,
        mut tracked: Tracked,
        work: Work,
        stop: &CancellationToken,
    ) -> anyhow::Result<Processed> {
        let moved = match (work, tracked.kind) {
            (Work::None, _) => false,
            (Work::Changed, _) => {
                self.feed.refuse("changed_after_reading", 1, &tracked.place());
                let mut position = tracked.position.clone();
                position.done = Some(tracked.version());
                self.submit(&mut tracked, Payload::nothing(), position, stop).await;
                false
            }
            (Work::Read { ends }, Kind::Lines { .. }) => return self.lines(tracked, ends, stop).await,
            (Work::Read { .. }, Kind::Document(_)) => return self.document(tracked, stop).await,
            (Work::Read { .. }, Kind::Table | Kind::EventTable) => return self.table(tracked, stop).await,
        };
        Ok(Processed { tracked, moved })
    }

    async fn lines(
        &self,
        mut tracked: Tracked,
        ends: bool,
        stop: &CancellationToken,
    ) -> anyhow::Result<Processed> {
        let monitor = matches!(tracked.kind, Kind::Lines { monitor: true, .. });
        // The rows of one request stand together, and belong together: the last ones wait for those that follow.
        let whole_requests = monitor && !ends && !tracked.rests(self.settings.settle.0);
        let cutting = Cutting { line_limit: self.settings.line_limit.0, ends, whole_requests };
        let grows = tracked.grows(self.settings.follow);
        let mut moved = false;
        for _ in 0..MESSAGES {
            moved = false;
            if stop.is_cancelled() {
                break;
            }
            let (back, next) = blocking(tracked, move |tracked| tracked.next(cutting)).await?;
            tracked = back;
            let Next { cut, mut position, restarted } = match next {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) => {
                    self.failed(&mut tracked, &error);
                    break;
                }
            };
            if restarted {
                self.feed.skip("restarted", 1);
                tracing::info!(source = self.feed.name(), file = %tracked.found.path.display(), "a file was cut short or written anew, and is read from its start");
            }
            let at_end = cut.at_end;
            if at_end && !grows {
                position.done = Some(tracked.version());
            }
            if cut.consumed == 0 && !restarted {
                // An end that was seen needs no transaction: it is seen again.
                tracked.position.done = position.done;
                break;
            }
            let place = tracked.place();
            let payload = if cut.lines == 0 {
                Payload::nothing()
            } else if monitor {
                let (back, events) = self.monitored(tracked, cut.body).await?;
                tracked = back;
                match events {
                    Some(events) => events,
                    None => break,
                }
            } else {
                Payload::Wire { kind: "application/x-ndjson", body: cut.body.into() }
            };
            if !self.submit(&mut tracked, payload, position, stop).await {
                break;
            }
            for (reason, count) in [("line_too_long", cut.too_long), ("not_utf8", cut.not_utf8)] {
                if count > 0 {
                    self.feed.refuse(reason, count, &place);
                }
            }
            if at_end {
                if !grows {
                    tracked.close();
                }
                break;
            }
            moved = true;
        }
        Ok(Processed { tracked, moved })
    }

    /// Reads lines of a monitor log by the schema beside it; none when there is no such schema yet.
    async fn monitored(&self, tracked: Tracked, body: Vec<u8>) -> anyhow::Result<(Tracked, Option<Payload>)> {
        let (model, utc_offset) = (self.feed.model().cloned(), self.utc_offset);
        let (tracked, read) = blocking(tracked, move |tracked| {
            let line = monitor::schema_line(&tracked.found.path).ok_or("there is no schema beside it")?;
            let schema = MonitorSchema::parse(&line)?;
            let log =
                MonitorLog { model, schema: Some(schema), utc_offset_seconds: utc_offset.local_minus_utc() };
            let headers = [("content-type".to_owned(), "application/x-ndjson".to_owned())];
            let read = events::read(&headers, &body, Some(&EventFormat::BentoMl(Arc::new(log))));
            Ok::<_, String>((read.unwrap_or_default(), body.len()))
        })
        .await?;
        Ok(match read {
            Ok((Events { events, refused }, bytes)) => {
                if !refused.is_empty() {
                    self.feed.refuse("undecodable", refused.len() as u64, &tracked.place());
                }
                (tracked, Some(Payload::Events { events, bytes }))
            }
            Err(problem) => {
                // The lines wait: the writer makes the schema with its first line, perhaps a little later.
                self.feed.skip("no_schema", 1);
                tracing::debug!(source = self.feed.name(), file = %tracked.found.path.display(), problem, "a monitor log waits for its schema");
                (tracked, None)
            }
        })
    }

    async fn document(&self, mut tracked: Tracked, stop: &CancellationToken) -> anyhow::Result<Processed> {
        let limit = self.settings.file_limit.0;
        let (back, whole) = blocking(tracked, move |tracked| tracked.whole(limit)).await?;
        tracked = back;
        let mut position = Self::whole_position(&tracked);
        let payload = match whole {
            Ok(Some(bytes)) => {
                position.offset = bytes.len() as u64;
                if bytes.trim_ascii().is_empty() {
                    self.feed.skip("empty", 1);
                    Payload::nothing()
                } else {
                    Payload::Wire { kind: "application/json", body: bytes.into() }
                }
            }
            Ok(None) => {
                self.feed.refuse("too_large", 1, &tracked.place());
                Payload::nothing()
            }
            Err(error) => {
                self.failed(&mut tracked, &error);
                return Ok(Processed { tracked, moved: false });
            }
        };
        self.submit(&mut tracked, payload, position, stop).await;
        Ok(Processed { tracked, moved: false })
    }

    fn whole_position(tracked: &Tracked) -> FilePosition {
        FilePosition {
            path: tracked.found.path.to_string_lossy().into_owned(),
            done: Some(tracked.version()),
            ..tracked.position.clone()
        }
    }

    async fn table(&self, mut tracked: Tracked, stop: &CancellationToken) -> anyhow::Result<Processed> {
        let place = tracked.place();
        let mut position = Self::whole_position(&tracked);
        if tracked.found.size > self.settings.file_limit.0 as u64 {
            self.feed.refuse("too_large", 1, &place);
            self.submit(&mut tracked, Payload::nothing(), position, stop).await;
            return Ok(Processed { tracked, moved: false });
        }
        if tracked.kind == Kind::EventTable {
            let path = tracked.found.path.clone();
            let (back, read) = blocking(tracked, move |_| table::events(&path)).await?;
            tracked = back;
            let payload = match read {
                Ok((lines, _)) => Payload::Wire { kind: "application/x-ndjson", body: lines.into() },
                Err(error) => {
                    self.bad_table(&mut tracked, &error);
                    return Ok(Processed { tracked, moved: false });
                }
            };
            self.submit(&mut tracked, payload, position, stop).await;
            return Ok(Processed { tracked, moved: false });
        }
        let Some(model) = self.feed.model().cloned() else {
            self.feed.refuse("no_model", 1, &place);
            tracked.failed = Some(tracked.version());
            return Ok(Processed { tracked, moved: false });
        };
        let modified = self.feed.arrival(DateTime::from_timestamp_millis(tracked.found.modified));
        let (path, columns, utc_offset) =
            (tracked.found.path.clone(), self.settings.columns.clone(), self.utc_offset);
        let (back, read) = blocking(tracked, move |_| {
            table::exchanges(&path, Meaning { columns: &columns, model: &model, modified, utc_offset })
        })
        .await?;
        tracked = back;
        let rows = match read {
            Ok(rows) => rows,
            Err(error) => {
                self.bad_table(&mut tracked, &error);
                return Ok(Processed { tracked, moved: false });
            }
        };
        if rows.bad_times > 0 {
            self.feed.refuse("bad_time", rows.bad_times, &place);
        }
        let total = rows.exchanges.len();
        let mut start = usize::try_from(tracked.position.offset).unwrap_or(usize::MAX);
        while start < total && !stop.is_cancelled() {
            let (mut end, mut count) = (start, 0);
            while end < total && (count == 0 || count + rows.exchanges[end].batch.rows <= ROWS) {
                count += rows.exchanges[end].batch.rows;
                end += 1;
            }
            position.offset = end as u64;
            let mut position = position.clone();
            if end < total {
                position.done = None;
            }
            let payload = Payload::Rows(rows.exchanges[start..end].to_vec());
            if !self.submit(&mut tracked, payload, position, stop).await {
                return Ok(Processed { tracked, moved: false });
            }
            start = end;
        }
        if total == 0 {
            self.submit(&mut tracked, Payload::nothing(), position, stop).await;
        }
        Ok(Processed { tracked, moved: false })
    }

    /// Hands content over with the position after it; true when both are stored and the file can be read on.
    async fn submit(
        &self,
        tracked: &mut Tracked,
        payload: Payload,
        position: FilePosition,
        stop: &CancellationToken,
    ) -> bool {
        let before = &tracked.position;
        // Where it begins and not where it ends: of two replicas that both believe to lead, one counts.
        let from = if position.generation == before.generation { before.offset } else { 0 };
        // What is known by its name is told from what had the name before.
        let version = match tracked.kind {
            Kind::Lines { .. } => String::new(),
            _ => format!("-{}-{}", tracked.found.size, tracked.found.modified),
        };
        let key = (!payload.is_nothing())
            .then(|| format!("{}#{}{version}@{from}", tracked.of, position.generation));
        let (of, at) = (tracked.of.clone(), position.to_string());
        let received_at = if tracked.grows(self.settings.follow) {
            self.feed.now()
        } else {
            self.feed.arrival(DateTime::from_timestamp_millis(tracked.found.modified))
        };
        let bytes = payload.len();
        let content = payload.content(self.settings.format);
        let message = self.feed.message(key, Some(Position { of, at }), received_at, content);
        let submission = self.feed.submit(message);
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let stored = tokio::select! {
            outcome = submission => match outcome {
                Ok(stored) => stored,
                Err(_) => return self.wait_for_end(stop).await,
            },
            () = late => return false,
        };
        self.feed.stored(stored, bytes, &tracked.place());
        if stored.duplicate {
            return self.rejoin(tracked, position).await;
        }
        tracked.position = position;
        true
    }

    /// Nothing can be stored any more, so that there is nothing to do but to wait for the end.
    async fn wait_for_end(&self, stop: &CancellationToken) -> bool {
        stop.cancelled().await;
        false
    }

    /// Somebody stored this part before: goes on where the database says.
    async fn rejoin(&self, tracked: &mut Tracked, position: FilePosition) -> bool {
        let stored = store::source_position::one(&self.db, self.feed.name(), &tracked.of).await;
        let theirs = stored.ok().flatten().and_then(|at| at.parse::<FilePosition>().ok());
        let ahead = theirs.filter(|theirs| {
            theirs.generation == position.generation && theirs.offset > tracked.position.offset
        });
        tracked.jump(ahead.unwrap_or(position));
        false
    }

    fn failed(&self, tracked: &mut Tracked, error: &io::Error) {
        let gone = error.kind() == io::ErrorKind::NotFound;
        tracked.close();
        if gone || tracked.failed == Some(tracked.version()) {
            return;
        }
        let reason = match error.kind() {
            io::ErrorKind::PermissionDenied => "permission_denied",
            io::ErrorKind::FileTooLarge => "too_large",
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                "damaged"
            }
            _ => "unreadable",
        };
        self.feed.refuse(reason, 1, &tracked.place());
        tracked.failed = Some(tracked.version());
    }

    fn bad_table(&self, tracked: &mut Tracked, error: &FrameError) {
        tracked.failed = Some(tracked.version());
        let place = tracked.found.path.display().to_string();
        match error {
            FrameError::Empty(_) => self.feed.skip("empty", 1),
            // These name columns and bounds; what other readers say may quote what they read.
            FrameError::MissingColumn { .. }
            | FrameError::DuplicateColumn { .. }
            | FrameError::Refused(_) => {
                self.feed.refuse("undecodable", 1, &format!("{place}: {error}"));
            }
            FrameError::UnknownFormat(_) => self.feed.refuse("unknown_format", 1, &place),
            _ => self.feed.refuse("undecodable", 1, &place),
        }
    }
}

/// Does what may block on a thread for it.
async fn blocking<T: Send + 'static>(
    mut tracked: Tracked,
    work: impl FnOnce(&mut Tracked) -> T + Send + 'static,
) -> anyhow::Result<(Tracked, T)> {
    Ok(tokio::task::spawn_blocking(move || {
        let done = work(&mut tracked);
        (tracked, done)
    })
    .await?)
}
