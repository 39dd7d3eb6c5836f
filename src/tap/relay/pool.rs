//! Unused connections to one model server on one thread: the last one given back is the first to be used again.

use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::SockRef;

use super::stream::Stream;

/// Most connections that are kept unused.
const MAX_UNUSED: usize = 1024;

/// Unused connections.
#[derive(Debug, Default)]
pub(in crate::tap) struct Pool(Mutex<Vec<Unused>>);

#[derive(Debug)]
struct Unused {
    stream: Stream,
    since: Instant,
}

impl Pool {
    /// A connection that was not unused for longer than `limit` and that the model server did not close meanwhile: a
    /// request that was written to such a one could not be sent again.
    pub(in crate::tap) fn take(&self, limit: Duration) -> Option<Stream> {
        let mut unused = self.0.lock();
        while let Some(one) = unused.pop() {
            if one.since.elapsed() >= limit {
                // Those below were given back before.
                unused.clear();
            } else if is_quiet(&one.stream) {
                return Some(one.stream);
            }
        }
        None
    }

    pub(in crate::tap) fn give_back(&self, stream: Stream) {
        let mut unused = self.0.lock();
        if unused.len() < MAX_UNUSED {
            unused.push(Unused { stream, since: Instant::now() });
        }
    }

    /// Closes what was unused for longer than `limit`, and what the model server has closed.
    pub(in crate::tap) fn reap(&self, limit: Duration) {
        self.0.lock().retain(|one| one.since.elapsed() < limit && is_quiet(&one.stream));
    }
}

/// Whether nothing came, neither the end nor bytes that nobody asked for.
fn is_quiet(stream: &Stream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = SockRef::from(stream.tcp()).peek(&mut byte);
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_was_closed_or_speaks_unasked_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Pool::default();
        let limit = Duration::from_mins(1);
        let mut open = Vec::new();
        for _ in 0..4 {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            open.push((stream.local_addr().unwrap(), listener.accept().await.unwrap().0));
            pool.give_back(Stream::Plain(stream));
        }
        drop(open.pop());
        open[2].1.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        let taken = loop {
            // Until the kernel has carried both over.
            if pool.0.lock().iter().filter(|one| is_quiet(&one.stream)).count() == 2 {
                break pool.take(limit).unwrap();
            }
        };
        assert_eq!(taken.tcp().local_addr().unwrap(), open[1].0, "the last one that is still good");
        pool.reap(limit);
        assert_eq!(pool.0.lock().len(), 1);
        assert!(pool.take(Duration::ZERO).is_none() && pool.take(limit).is_none(), "none is left");
    }
}
