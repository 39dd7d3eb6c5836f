//! Bytes that were read and not passed on yet, in memory that is used again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// What an idle connection holds at most.
const SMALL: usize = 8 << 10;
/// What a body is read in when it comes faster than it is passed on.
const LARGE: usize = 64 << 10;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(in crate::tap) struct Buffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read left no room, so that there is more to come.
    was_filled: bool,
}

impl Buffer {
    /// What was read, in order.
    pub(in crate::tap) fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(in crate::tap) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes the first `count` bytes out.
    pub(in crate::tap) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// Reads once, and makes room for it; nothing read is the end of the stream.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<std::io::Result<usize>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.data[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        self.was_filled = room.remaining() == 0;
        let read = room.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }

    fn make_room(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            if self.was_filled && self.data.len() < LARGE {
                self.was_filled = false;
                self.data.resize((2 * self.data.len()).clamp(SMALL, LARGE), 0);
            }
        }
        if self.end == self.data.len() {
            if self.start == 0 {
                self.data.resize((2 * self.data.len()).max(SMALL), 0);
            } else {
                self.data.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.len());
            }
        }
    }

    /// Gives memory back while nothing is under way.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.data.len() > SMALL {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_memory_is_given_back() {
        let content: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        for step in [1_usize, 100, 5_000, 70_000] {
            let mut cx = Context::from_waker(Waker::noop());
            let (mut source, mut buffer, mut seen) = (content.as_slice(), Buffer::default(), Vec::new());
            let mut turn = 0_usize;
            while let Poll::Ready(Ok(1..)) = buffer.poll_fill(&mut cx, &mut source) {
                turn += 1;
                let taken = buffer.len().min(step * 10_000 / (turn % 3 + 1));
                seen.extend_from_slice(&buffer.bytes()[..taken]);
                buffer.consume(taken);
            }
            seen.extend_from_slice(buffer.bytes());
            buffer.consume(buffer.len());
            assert!(seen == content, "{step}");
            buffer.rest();
            assert!(buffer.data.len() <= SMALL, "{step}");
        }
    }
}
