//! What a process has found wrong with itself, from whoever finds it to whoever tells of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::alert::Fault;

/// The faults that are present in this process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    present: Arc<Mutex<BTreeMap<Fault, String>>>,
    changed: Arc<Notify>,
}

impl Faults {
    /// Says that `fault` is present, with its details, or that it is not.
    pub fn set(&self, fault: Fault, detail: Option<String>) {
        // What a panic left behind is still a map.
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let before = present.get(&fault).cloned();
        if before == detail {
            return;
        }
        match detail {
            Some(detail) => drop(present.insert(fault, detail)),
            None => drop(present.remove(&fault)),
        }
        self.changed.notify_one();
    }

    /// What is present.
    pub fn present(&self) -> BTreeMap<Fault, String> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until something changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
