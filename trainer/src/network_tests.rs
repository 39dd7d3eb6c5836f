//! What libtorch computes and what the artifact computes are the same, for every kind of block.

use driftline::retrain::spec::{Activation, Architecture, AttentionSpec, DeepSpec, Normalisation};
use driftline::stats::random::SplitMix64;
use ndarray::{Array2, ArrayView2};

use super::*;
use crate::architecture::{Shape, initial};

/// Random rows: two numbers, a one-hot encoded name of three levels, two columns of codes.
fn rows(n: usize) -> (Array2<f64>, Array2<u32>) {
    let mut random = SplitMix64::new(5);
    let numbers = Array2::from_shape_fn((n, 5), |(row, column)| match column {
        0 | 1 => (random.next_u64() >> 50) as f64 / 4_096.0 - 2.0,
        _ => f64::from(u8::from(row % 3 == column - 2)),
    });
    let codes =
        Array2::from_shape_fn((n, 2), |(_, column)| u32::try_from(random.below([4, 7][column])).unwrap());
    (numbers, codes)
}

pub(crate) fn tensors(numbers: ArrayView2<'_, f64>, codes: ArrayView2<'_, u32>) -> (Tensor, Tensor) {
    let numbers_of: Vec<f64> = numbers.iter().copied().collect();
    let codes_of: Vec<i64> = codes.iter().map(|code| i64::from(*code)).collect();
    let view = |tensor: Tensor, (rows, columns): (usize, usize)| tensor.view([size(rows), size(columns)]);
    (
        view(Tensor::from_slice(&numbers_of).to_kind(Kind::Float), numbers.dim()),
        view(Tensor::from_slice(&codes_of), codes.dim()),
    )
}

#[track_caller]
fn check(spec: &DeepSpec, outputs: usize) {
    let shape = Shape { groups: vec![1, 1, 3], cardinalities: vec![4, 7], outputs };
    let network = Network::new(&initial(spec, &shape, 11), 0.3, Device::Cpu).unwrap();
    let (numbers, codes) = rows(40);
    let (numbers_of, codes_of) = tensors(numbers.view(), codes.view());
    // Running statistics move away from 0 and 1, and the trained numbers away from where they start.
    for _ in 0..3 {
        let scores = network.forward(&numbers_of, &codes_of, true).unwrap();
        let gradients =
            Tensor::f_run_backward(&[scores.square().sum(Kind::Float)], network.parameters(), false, false)
                .unwrap();
        assert_eq!(gradients.len(), network.parameters().len());
        let flat: Vec<Tensor> = gradients.iter().map(|gradient| gradient.view(-1)).collect();
        let gradient = Tensor::cat(&flat, 0);
        assert!(gradient.abs().sum(Kind::Double).double_value(&[]) > 0.0);
        let length = gradient.norm().double_value(&[]);
        let mut flat = network.flat().shallow_clone();
        let _moved = flat.f_sub_(&(gradient * (0.1 / length))).unwrap();
    }
    let scores = tch::no_grad(|| network.forward(&numbers_of, &codes_of, false)).unwrap();
    let graph = network.graph().unwrap();
    assert_eq!(graph.outputs(5, &[4, 7]).unwrap(), outputs);
    let ours = graph.scores(numbers.view(), codes.view()).unwrap();
    let theirs = super::numbers(&scores).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() <= 1e-5 * theirs.abs().max(1.0), "{spec:?}: {ours} is not {theirs}");
    }
    let again = Network::new(&graph, 0.0, Device::Cpu).unwrap().graph().unwrap();
    assert_eq!(again, graph, "a graph goes to libtorch and back unchanged");
}

#[test]
fn an_artifact_computes_what_libtorch_computes() {
    let mlp = DeepSpec { hidden: vec![16, 12, 8], ..DeepSpec::default() };
    check(&mlp, 1);
    check(&mlp, 3);
    check(&DeepSpec { norm: Normalisation::Batch, ..mlp.clone() }, 1);
    check(&DeepSpec { norm: Normalisation::Layer, activation: Activation::Gelu, ..mlp.clone() }, 2);
    let deeper = DeepSpec { hidden: vec![12; 5], norm: Normalisation::Batch, ..mlp.clone() };
    check(&deeper, 1);
    let attention = AttentionSpec { width: 16, blocks: 2, heads: 4 };
    let tokens = DeepSpec { architecture: Architecture::FtTransformer, attention, ..mlp };
    check(&tokens, 1);
    check(&DeepSpec { activation: Activation::Gelu, ..tokens }, 4);
}
