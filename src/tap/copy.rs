//! The bounded copy that is made of a body while it passes.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::named::LOOKED_AT_BYTES;
use super::queue::Reservation;

/// Frames shorter than this are copied.
const COPIED_BYTES: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyState {
    /// More may come.
    Open,
    /// The whole body is here.
    Complete,
    /// The body is longer than its limit; what was copied is gone.
    Truncated,
    /// The queue had no room; what was copied is gone.
    NoRoom,
    /// The client broke off; what was copied is gone.
    Broken,
    /// No copy is wanted; bytes are only counted.
    Unwanted,
}

/// The bounded copy of one body.
#[derive(Debug)]
pub(super) struct BodyCopy {
    pieces: Vec<Bytes>,
    /// Bytes that have passed, copied or not.
    passed: u64,
    /// The first of them, where they name the model.
    first: Option<Vec<u8>>,
    bytes: usize,
    limit: usize,
    reservation: Reservation,
    state: CopyState,
}

impl BodyCopy {
    pub(super) fn new(reservation: Reservation, limit: usize) -> Self {
        Self {
            pieces: Vec::new(),
            passed: 0,
            first: None,
            bytes: 0,
            limit,
            reservation,
            state: CopyState::Open,
        }
    }

    /// Of a body that is only counted.
    pub(super) fn unwanted(empty: Reservation) -> Self {
        Self { state: CopyState::Unwanted, ..Self::new(empty, 0) }
    }

    /// Keeps the first bytes apart, whatever becomes of the copy.
    pub(super) fn keeping_first(mut self) -> Self {
        self.first = Some(Vec::new());
        self
    }

    /// The first bytes, if they are kept.
    pub(super) fn first(&self) -> &[u8] {
        self.first.as_deref().unwrap_or_default()
    }

    /// Copies a part of the body; short frames by their bytes, as a reference would hold a whole read buffer.
    pub(super) fn push_frame(&mut self, data: &Bytes) {
        if data.len() < COPIED_BYTES {
            self.push(data);
        } else if self.has_room(data) {
            self.pieces.push(data.clone());
        }
    }

    /// Copies a part of the body.
    pub(super) fn push(&mut self, data: &[u8]) {
        if self.has_room(data) {
            self.pieces.push(Bytes::copy_from_slice(data));
        }
    }

    /// Counts a part of the body, and whether it is to be copied.
    fn has_room(&mut self, data: &[u8]) -> bool {
        self.passed += data.len() as u64;
        if let Some(first) = &mut self.first {
            let room = LOOKED_AT_BYTES.saturating_sub(first.len()).min(data.len());
            first.extend_from_slice(&data[..room]);
        }
        if self.state != CopyState::Open || data.is_empty() {
            return false;
        }
        self.bytes += data.len();
        if self.bytes > self.limit {
            self.give_up(CopyState::Truncated);
        } else if !self.reservation.grow(data.len() + size_of::<Bytes>()) {
            self.give_up(CopyState::NoRoom);
        }
        self.state == CopyState::Open
    }

    /// The body has passed to its end.
    pub(super) fn complete(&mut self) {
        if self.state == CopyState::Open {
            self.state = CopyState::Complete;
        }
    }

    /// Lets go of what was copied, and copies nothing more.
    pub(super) fn give_up(&mut self, state: CopyState) {
        self.state = state;
        self.pieces = Vec::new();
        self.reservation.clear();
    }

    pub(super) fn state(&self) -> CopyState {
        self.state
    }

    /// Bytes that have passed, copied or not.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Takes the copy out, with the memory that it holds.
    pub(super) fn take(&mut self, empty: Reservation) -> (Vec<Bytes>, Reservation) {
        (std::mem::take(&mut self.pieces), std::mem::replace(&mut self.reservation, empty))
    }
}

/// The copy of a request, which the connection to the model server fills and the answer's end collects.
pub(super) type SharedCopy = Arc<Mutex<BodyCopy>>;

/// How the body of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// To its last byte.
    Whole,
    /// The model server broke off.
    UpstreamReset,
    /// The client went away.
    ClientGone,
    /// It took longer than `tap.request_timeout`.
    TimedOut,
}
