//! One timer for all limits of a connection: it is set again when it has run out, and not for each request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// Any long time will do where nothing is limited.
const SELDOM: Duration = Duration::from_hours(24);

/// When something has to have happened.
#[derive(Debug)]
pub(super) struct Timer {
    due: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    pub(super) fn new() -> Self {
        Self { due: None, sleep: Box::pin(tokio::time::sleep(SELDOM)) }
    }

    /// From now on this is due.
    pub(super) fn set(&mut self, due: Option<Instant>) {
        self.due = due;
        if let Some(due) = due
            && due < self.sleep.deadline().into_std()
        {
            self.sleep.as_mut().reset(due.into());
        }
    }

    /// Ready when it is over.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(due.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_set_later_or_earlier_is_due_then() {
        let mut timer = Timer::new();
        let milliseconds = |count| Some(Instant::now() + Duration::from_millis(count));
        for (first, then) in [(30_000, 20), (20, 60), (60, 20)] {
            timer.set(milliseconds(first));
            let due = milliseconds(then);
            timer.set(due);
            std::future::poll_fn(|cx| timer.poll_due(cx)).await;
            assert!(Instant::now() >= due.unwrap());
        }
        timer.set(None);
        let nothing = std::future::poll_fn(|cx| timer.poll_due(cx));
        assert!(tokio::time::timeout(Duration::from_millis(50), nothing).await.is_err());
    }
}
