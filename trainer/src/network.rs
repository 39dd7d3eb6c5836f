//! The deep model: dense layers with ReLU between them, on libtorch.

use anyhow::{Context, Result, bail};
use driftline::retrain::artifact::Layer;
use ndarray::{Array1, Array2};
use tch::nn::{self, Module};
use tch::{Device, Tensor};

/// A multi-layer perceptron.
#[derive(Debug)]
pub(crate) struct Network {
    layers: Vec<nn::Linear>,
    dropout: f64,
}

impl Network {
    /// A network with fresh weights, drawn with libtorch's generator.
    pub(crate) fn new(
        path: &nn::Path<'_>,
        inputs: usize,
        hidden: &[usize],
        outputs: usize,
        dropout: f64,
    ) -> Self {
        let mut layers = Vec::with_capacity(hidden.len() + 1);
        let mut width = size(inputs);
        for (index, units) in hidden.iter().copied().chain([outputs]).enumerate() {
            let units = size(units);
            layers.push(nn::linear(path / index, width, units, nn::LinearConfig::default()));
            width = units;
        }
        Self { layers, dropout }
    }

    /// Scores, shape `[rows, outputs]`; `is_training` switches dropout on.
    pub(crate) fn forward(&self, inputs: &Tensor, is_training: bool) -> Tensor {
        let mut activation = inputs.shallow_clone();
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                activation = activation.relu();
                if self.dropout > 0.0 {
                    activation = activation.dropout(self.dropout, is_training);
                }
            }
            activation = layer.forward(&activation);
        }
        activation
    }

    /// The weights as an artifact keeps them.
    pub(crate) fn layers(&self) -> Result<Vec<Layer>> {
        self.layers
            .iter()
            .map(|layer| {
                let (outputs, inputs) = layer.ws.size2()?;
                let bias = layer.bs.as_ref().context("a layer has no bias")?;
                let shape = (usize::try_from(outputs)?, usize::try_from(inputs)?);
                Ok(Layer {
                    weight: Array2::from_shape_vec(shape, numbers(&layer.ws)?)?,
                    bias: Array1::from_vec(numbers(bias)?),
                })
            })
            .collect()
    }
}

/// libtorch counts with signed numbers.
fn size(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    let flat =
        tensor.detach().to_device(Device::Cpu).to_kind(tch::Kind::Double).f_contiguous()?.f_view(-1)?;
    Ok(Vec::<f64>::try_from(&flat)?)
}

/// The device that `word` names, and a line to log about it.
///
/// # Errors
///
/// Says what to do when the word is unknown or the GPU is not there.
pub(crate) fn device(word: &str) -> Result<(Device, String)> {
    let gpus = if tch::Cuda::is_available() { tch::Cuda::device_count() } else { 0 };
    match word.split_once(':').unwrap_or((word, "0")) {
        ("cpu", "0") => Ok((Device::Cpu, "device cpu".to_owned())),
        ("auto", "0") if gpus > 0 => Ok((Device::Cuda(0), format!("device auto: cuda:0 of {gpus}"))),
        ("auto", "0") => Ok((Device::Cpu, "device auto: cpu, libtorch sees no GPU".to_owned())),
        ("cuda", index) => {
            let index: usize =
                index.parse().with_context(|| format!("device `{word}` is not auto, cpu or cuda:N"))?;
            if gpus <= i64::try_from(index)? {
                bail!(
                    "device `{word}` is not there: libtorch sees {gpus} GPUs; use `cpu` or `auto`, or install the CUDA build"
                );
            }
            Ok((Device::Cuda(index), format!("device cuda:{index} of {gpus}")))
        }
        _ => bail!("device `{word}` is not auto, cpu or cuda:N"),
    }
}

/// The word for `device` in the registry.
pub(crate) fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    }
}
