//! Bytes on their way from one side to the other.

use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::buffer::Buffer;
use super::framing::{Framing, Malformed};
use super::stream::Stream;

/// One direction of an exchange.
#[derive(Debug)]
pub(super) struct Direction {
    /// What was read of this side.
    pub(super) buffer: Buffer,
    /// A head to write before anything of the buffer.
    pub(super) head: Vec<u8>,
    head_written: usize,
    /// So many bytes at the front of the buffer are to be written.
    passing: usize,
    /// Where the body ends.
    pub(super) framing: Framing,
    needs_flush: bool,
    /// Some of this message was written.
    pub(super) has_begun: bool,
}

impl Direction {
    pub(super) fn new(buffer: Buffer) -> Self {
        Self {
            buffer,
            head: Vec::new(),
            head_written: 0,
            passing: 0,
            framing: Framing::Length(0),
            needs_flush: false,
            has_begun: false,
        }
    }

    /// Begins another head, to be appended to.
    pub(super) fn new_head(&mut self) -> &mut Vec<u8> {
        self.head.clear();
        (self.head_written, self.has_begun) = (0, false);
        &mut self.head
    }

    /// Takes the body on, as far as it is there; `payload` is given what it carries.
    ///
    /// # Errors
    ///
    /// When it is malformed; what came before passes.
    pub(super) fn frame(&mut self, payload: impl FnMut(&[u8])) -> Result<(), Malformed> {
        let waiting = &self.buffer.bytes()[self.passing..];
        let taken = self.framing.take(waiting, payload);
        self.passing += taken.as_ref().map_or_else(|malformed| malformed.after, |taken| *taken);
        taken.map(|_| ())
    }

    /// Whether all that belongs to the message was written.
    pub(super) fn is_done(&self) -> bool {
        self.framing.is_done() && self.is_written()
    }

    fn is_written(&self) -> bool {
        self.passing == 0 && self.head_written == self.head.len() && !self.needs_flush
    }

    /// Writes what is to be written.
    pub(super) fn poll_pass(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<std::io::Result<()>> {
        loop {
            let head = &self.head[self.head_written..];
            let body = &self.buffer.bytes()[..self.passing];
            let to = Pin::new(&mut *to);
            let written = match (head.is_empty(), body.is_empty()) {
                (true, true) => break,
                (false, true) => ready!(to.poll_write(cx, head))?,
                (true, false) => ready!(to.poll_write(cx, body))?,
                (false, false) => {
                    ready!(to.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            (self.needs_flush, self.has_begun) = (true, true);
            let of_head = written.min(head.len());
            self.head_written += of_head;
            self.passing -= written - of_head;
            self.buffer.consume(written - of_head);
        }
        if self.needs_flush {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Forgets what was not written any more.
    pub(super) fn give_up(&mut self) {
        self.head.clear();
        self.head_written = 0;
        self.buffer.consume(self.passing);
        (self.passing, self.needs_flush) = (0, false);
        self.framing = Framing::Length(0);
    }
}
