//! What is dropped, hashed or masked before profile, capture, log or trace can see it.

use crate::model::Exchange;

/// What becomes of the fields of one model.
#[derive(Debug, Clone, Default)]
pub struct Policy {}

impl Policy {
    /// Changes an exchange into what may be kept of it.
    pub fn apply(&self, _exchange: &mut Exchange) {}
}
