//! The queue between proxy and decoder: bounded in bytes, so that memory is, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGauge;

use super::record::Recorded;

/// What an exchange takes besides its bodies.
const OVERHEAD_BYTES: usize = 1024;

/// Bytes that copies of bodies may take, those still being copied included.
#[derive(Debug)]
struct Budget {
    limit: usize,
    used: AtomicUsize,
    gauge: IntGauge,
}

impl Budget {
    fn show(&self) {
        let used = self.used.load(Ordering::Relaxed);
        self.gauge.set(i64::try_from(used).unwrap_or(i64::MAX));
    }
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    /// Takes `bytes` more; false, and nothing taken, when they are not left.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let limit = self.budget.limit;
        let taken = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|total| *total <= limit)
        });
        if taken.is_ok() {
            self.bytes += bytes;
            self.budget.show();
        }
        taken.is_ok()
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives everything back.
    pub fn clear(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
        self.budget.show();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The side that records; cheap to clone.
#[derive(Debug, Clone)]
pub struct ExchangeQueue {
    budget: Arc<Budget>,
    sender: mpsc::Sender<Recorded>,
}

/// The side that decodes; several threads may ask at once.
#[derive(Debug)]
pub struct ExchangeReceiver {
    receiver: Mutex<mpsc::Receiver<Recorded>>,
}

/// Bytes of bodies past which a thread that takes several exchanges leaves the rest to others.
const TAKEN_BYTES: usize = 256 << 10;

/// What a wait for the next exchange came to.
#[derive(Debug)]
pub enum Received {
    /// An exchange.
    Exchange(Box<Recorded>),
    /// Nothing came in time.
    Nothing,
    /// Every sender is gone and the queue is empty.
    Closed,
}

/// Every sender is gone and the queue is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// A queue that holds at most `limit_bytes`; `gauge` shows how many are held.
pub fn queue(limit_bytes: usize, gauge: IntGauge) -> (ExchangeQueue, ExchangeReceiver) {
    let (sender, receiver) = mpsc::channel();
    let budget = Arc::new(Budget { limit: limit_bytes, used: AtomicUsize::new(0), gauge });
    (ExchangeQueue { budget, sender }, ExchangeReceiver { receiver: Mutex::new(receiver) })
}

impl ExchangeQueue {
    /// Room for one exchange with no body yet; absent when the queue is full.
    pub fn reserve(&self) -> Option<Reservation> {
        let mut reservation = self.reservation();
        reservation.grow(OVERHEAD_BYTES).then_some(reservation)
    }

    /// Share of the budget that is taken, in `[0, 1]`.
    pub fn fill(&self) -> f64 {
        self.budget.used.load(Ordering::Relaxed) as f64 / self.budget.limit.max(1) as f64
    }

    /// A reservation of nothing.
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: Arc::clone(&self.budget), bytes: 0 }
    }

    /// Hands an exchange over; its bytes are reserved already, so this neither waits nor grows without bound.
    ///
    /// # Errors
    ///
    /// The exchange itself, when the decoder is gone.
    pub fn try_send(&self, recorded: Recorded) -> Result<(), Box<Recorded>> {
        self.sender.send(recorded).map_err(|refused| Box::new(refused.0))
    }
}

impl ExchangeReceiver {
    /// Waits up to `timeout` for the next exchange.
    pub fn recv_timeout(&self, timeout: Duration) -> Received {
        match self.receiver.lock().recv_timeout(timeout) {
            Ok(recorded) => Received::Exchange(Box::new(recorded)),
            Err(mpsc::RecvTimeoutError::Timeout) => Received::Nothing,
            Err(mpsc::RecvTimeoutError::Disconnected) => Received::Closed,
        }
    }

    /// Waits up to `timeout` for an exchange, and takes those behind it too, up to `most` in all; none when nothing came.
    ///
    /// # Errors
    ///
    /// [`Closed`] when every sender is gone and the queue is empty.
    pub fn recv_many(&self, timeout: Duration, most: usize) -> Result<Vec<Recorded>, Closed> {
        let receiver = self.receiver.lock();
        let first = match receiver.recv_timeout(timeout) {
            Ok(first) => first,
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok(Vec::new()),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Closed),
        };
        let mut bytes = first.reserved_bytes();
        let mut taken = vec![first];
        while taken.len() < most && bytes < TAKEN_BYTES {
            let Ok(next) = receiver.try_recv() else { break };
            bytes += next.reserved_bytes();
            taken.push(next);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let gauge = IntGauge::new("g", "g").unwrap();
        let (queue, _receiver) = queue(2 * OVERHEAD_BYTES + 10, gauge.clone());
        let mut first = queue.reserve().unwrap();
        let second = queue.reserve().unwrap();
        assert!(queue.reserve().is_none(), "no room for a third");
        assert!(first.grow(10));
        assert!(!first.grow(1), "not one byte more");
        assert_eq!(first.bytes(), OVERHEAD_BYTES + 10);
        drop(second);
        assert!(first.grow(OVERHEAD_BYTES));
        drop(first);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn threads_never_exceed_the_limit() {
        let gauge = IntGauge::new("g", "g").unwrap();
        let (queue, _receiver) = queue(10_000, gauge.clone());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in 0..2_000 {
                        let mut reservation = queue.reservation();
                        if reservation.grow(bytes) {
                            assert!(reservation.budget.used.load(Ordering::Relaxed) <= 10_000);
                        }
                    }
                });
            }
        });
        assert_eq!(queue.budget.used.load(Ordering::Relaxed), 0);
    }
}
