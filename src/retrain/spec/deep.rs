//! Hyperparameters of the deep model.

use serde::{Deserialize, Serialize};

/// What the network looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Dense layers.
    #[default]
    Mlp,
    /// Attention over a token per feature.
    FtTransformer,
}

/// What stands behind a dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x Φ(x)`.
    Gelu,
}

/// What stands between a dense layer and its activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalisation {
    /// Nothing.
    #[default]
    None,
    /// Batch normalisation.
    Batch,
    /// Layer normalisation.
    Layer,
}

/// How the learning rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Falls to 0 over `max_epochs` like half a cosine.
    #[default]
    Cosine,
    /// Stays.
    Constant,
}

/// Size of an FT-Transformer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionSpec {
    /// Dimensions of a token; a multiple of `heads`.
    pub width: usize,
    /// Attention blocks.
    pub blocks: usize,
    /// Heads of each.
    pub heads: usize,
}

impl Default for AttentionSpec {
    fn default() -> Self {
        Self { width: 32, blocks: 2, heads: 4 }
    }
}

/// What the built-in search tries: each value in the place of the one that the deep model has, one change at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchSpec {
    /// Most trials; of more, a seeded sample is taken. The unchanged model is always one of them.
    pub trials: usize,
    /// Epochs of the first round; each next round keeps the better half, and doubles them.
    pub epochs: usize,
    /// Hidden layers.
    pub hidden: Vec<Vec<usize>>,
    /// Learning rates.
    pub learning_rate: Vec<f64>,
    /// Weight decays.
    pub weight_decay: Vec<f64>,
    /// Shares of dropped units.
    pub dropout: Vec<f64>,
    /// Normalisations.
    pub norm: Vec<Normalisation>,
    /// Rows per step.
    pub batch_size: Vec<usize>,
}

impl Default for SearchSpec {
    fn default() -> Self {
        Self {
            trials: 8,
            epochs: 5,
            hidden: vec![vec![128, 128, 128], vec![256, 128, 64]],
            learning_rate: vec![3e-4, 3e-3],
            weight_decay: vec![1e-2],
            dropout: vec![0.1],
            norm: vec![Normalisation::Batch, Normalisation::Layer],
            batch_size: Vec::new(),
        }
    }
}

/// Hyperparameters of the deep model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepSpec {
    /// What the network looks like.
    pub architecture: Architecture,
    /// Units of each hidden layer.
    pub hidden: Vec<usize>,
    /// What stands behind each layer.
    pub activation: Activation,
    /// What stands before that.
    pub norm: Normalisation,
    /// Whether a layer as wide as the one before is added to it; absent: where there are more than three layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual: Option<bool>,
    /// Dimensions of an embedding; absent: by the number of its codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<usize>,
    /// Size of an FT-Transformer.
    pub attention: AttentionSpec,
    /// Upper limit of epochs.
    pub max_epochs: usize,
    /// Epochs without a better validation loss before training stops.
    pub patience: usize,
    /// Rows per step; absent: by the number of rows and the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Parts that a step is computed in, one after the other, so that it needs less memory.
    pub accumulate: usize,
    /// Step size of AdamW.
    pub learning_rate: f64,
    /// Share of all steps over which the step size grows from 0.
    pub warm_up: f64,
    /// How it goes on.
    pub schedule: Schedule,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f64,
    /// Share of hidden units dropped while training.
    pub dropout: f64,
    /// Gradients longer than this are shortened to it.
    pub max_gradient_norm: f64,
    /// Half precision where it is safe, on CUDA only.
    pub mixed_precision: bool,
    /// The built-in search; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchSpec>,
}

impl Default for DeepSpec {
    fn default() -> Self {
        Self {
            architecture: Architecture::Mlp,
            hidden: vec![64, 64, 64],
            activation: Activation::Relu,
            norm: Normalisation::None,
            residual: None,
            embedding: None,
            attention: AttentionSpec::default(),
            max_epochs: 100,
            patience: 10,
            batch_size: None,
            accumulate: 1,
            learning_rate: 1e-3,
            warm_up: 0.02,
            schedule: Schedule::Cosine,
            weight_decay: 1e-4,
            dropout: 0.0,
            max_gradient_norm: 5.0,
            mixed_precision: true,
            search: None,
        }
    }
}

impl DeepSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !is_hidden(&self.hidden) {
            problems.push("deep.hidden needs at least one layer, each of 1 to 65536 units".to_owned());
        }
        if self.max_epochs == 0 || self.batch_size == Some(0) || self.patience == 0 || self.accumulate == 0 {
            problems.push(
                "deep.max_epochs, deep.batch_size, deep.patience and deep.accumulate must be at least 1"
                    .to_owned(),
            );
        }
        if self.embedding.is_some_and(|width| !(1..=1024).contains(&width)) {
            problems.push("deep.embedding is not between 1 and 1024".to_owned());
        }
        let AttentionSpec { width, blocks, heads } = self.attention;
        if !(1..=4096).contains(&width)
            || heads == 0
            || !width.is_multiple_of(heads.max(1))
            || !(1..=64).contains(&blocks)
        {
            problems.push(format!(
                "deep.attention: width {width} is not 1 to 4096 and a multiple of heads {heads}, or blocks {blocks} not 1 to 64"
            ));
        }
        let mut positive = |name: &str, value: f64| {
            if !(value.is_finite() && value > 0.0) {
                problems.push(format!("deep.{name} {value} is not above 0"));
            }
        };
        positive("learning_rate", self.learning_rate);
        positive("max_gradient_norm", self.max_gradient_norm);
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            problems.push(format!("deep.weight_decay {} is not 0 or more", self.weight_decay));
        }
        for (name, share) in [("dropout", self.dropout), ("warm_up", self.warm_up)] {
            if !(0.0..1.0).contains(&share) {
                problems.push(format!("deep.{name} {share} is not in [0, 1)"));
            }
        }
        problems.extend(self.search.iter().flat_map(SearchSpec::problems));
        problems
    }
}

impl SearchSpec {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.trials == 0 || self.epochs == 0 {
            problems.push("deep.search.trials and deep.search.epochs must be at least 1".to_owned());
        }
        let refused = !self.hidden.iter().all(|hidden| is_hidden(hidden))
            || !self.learning_rate.iter().all(|rate| rate.is_finite() && *rate > 0.0)
            || !self.weight_decay.iter().all(|decay| decay.is_finite() && *decay >= 0.0)
            || !self.dropout.iter().all(|share| (0.0..1.0).contains(share))
            || self.batch_size.contains(&0);
        if refused {
            problems.push("deep.search tries a value that the deep model could not have".to_owned());
        }
        problems
    }
}

fn is_hidden(hidden: &[usize]) -> bool {
    !hidden.is_empty() && hidden.iter().all(|units| (1..=65_536).contains(units))
}
