//! Hyperparameters of the deep model.

use serde::{Deserialize, Serialize};

/// Hyperparameters of the deep model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepSpec {
    /// Units of each hidden ReLU layer.
    pub hidden: Vec<usize>,
    /// Upper limit of epochs.
    pub max_epochs: usize,
    /// Epochs without a better validation loss before training stops.
    pub patience: usize,
    /// Rows per step.
    pub batch_size: usize,
    /// Step size of AdamW.
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f64,
    /// Share of hidden units dropped while training.
    pub dropout: f64,
}

impl Default for DeepSpec {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64, 64],
            max_epochs: 100,
            patience: 10,
            batch_size: 256,
            learning_rate: 1e-3,
            weight_decay: 1e-4,
            dropout: 0.0,
        }
    }
}

impl DeepSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.hidden.is_empty() || self.hidden.iter().any(|&units| units == 0 || units > 65_536) {
            problems.push("deep.hidden needs at least one layer, each of 1 to 65536 units".to_owned());
        }
        if self.max_epochs == 0 || self.batch_size == 0 || self.patience == 0 {
            problems.push("deep.max_epochs, deep.batch_size and deep.patience must be at least 1".to_owned());
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            problems.push(format!("deep.learning_rate {} is not above 0", self.learning_rate));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            problems.push(format!("deep.weight_decay {} is not 0 or more", self.weight_decay));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            problems.push(format!("deep.dropout {} is not in [0, 1)", self.dropout));
        }
        problems
    }
}
