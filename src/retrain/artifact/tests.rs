//! The artifact as a file and as a model.

use ndarray::{Array1, array};
use proptest::prelude::*;
use safetensors::tensor::TensorView;

use super::*;
use crate::model::{FeatureKind, Value};
use crate::retrain::pipeline::Step;

/// Two features, one hidden layer of two units.
fn deep() -> Artifact {
    Artifact {
        task: Task::Regression,
        target: "y".into(),
        kind: ModelKind::Deep,
        classes: Vec::new(),
        pipeline: Pipeline {
            steps: vec![
                Step::standard("x", 0.1 + 0.2, 1.0 / 3.0),
                Step::OneHot { name: "c".into(), kind: FeatureKind::Categorical, levels: vec!["a".into()] },
            ],
        },
        graph: Graph::dense(vec![
            Layer { weight: array![[1.0, 0.5], [-1.0, 0.1]], bias: array![0.0, 0.25] },
            Layer { weight: array![[2.0, 3.0]], bias: array![1.0] },
        ]),
        output: Output { offset: 10.0, scale: 2.0, ..Output::plain(Link::Identity) },
    }
}

fn columns(x: Value, c: Value) -> Vec<Column> {
    vec![Column { name: "x".into(), values: vec![x] }, Column { name: "c".into(), values: vec![c] }]
}

#[test]
fn predicts_what_the_layers_say() {
    // x encodes as 1, c as 1: hidden = relu(1.5, -1 + 0.1 + 0.25 = -0.65) = (1.5, 0); 2 * 1.5 + 1 = 4
    let x = 0.1 + 0.2 + 1.0 / 3.0;
    let predicted = deep().predict(1, &columns(Value::Number(x), Value::Text("a".into())));
    assert!((predicted[[0, 0]] - 18.0).abs() < 1e-12, "{predicted:?}");
}

#[test]
fn missing_columns_are_imputed() {
    // Both encode as 0: hidden = (0, 0.25), score = 1.75
    assert!((deep().predict(2, &[])[[1, 0]] - 13.5).abs() < 1e-12);
}

#[test]
fn every_bit_survives_the_file() {
    let bytes = deep().to_bytes().unwrap();
    assert_eq!(Artifact::from_bytes(&bytes).unwrap(), deep());
    assert_eq!(bytes, deep().to_bytes().unwrap());
    assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn foreign_and_cut_files_are_named() {
    let problem = |bytes: &[u8]| Artifact::from_bytes(bytes).unwrap_err().to_string();
    let bytes = deep().to_bytes().unwrap();
    assert!(problem(&bytes[..bytes.len() - 1]).contains("not a safetensors file"));
    assert!(problem(b"").contains("not a safetensors file"));
    let empty: Vec<(&str, TensorView<'_>)> = Vec::new();
    assert!(problem(&safetensors::serialize(empty, None).unwrap()).contains("not a driftline artifact"));
    let newer = String::from_utf8_lossy(&bytes).contains("\\\"format\\\":2");
    assert!(newer, "the document is readable in the header");
    let newer: Vec<u8> = replace(&bytes, b"\\\"format\\\":2", b"\\\"format\\\":9");
    assert!(problem(&newer).contains("format 9"), "{}", problem(&newer));
}

#[test]
fn a_weight_that_is_not_finite_is_refused() {
    let mut artifact = deep();
    let Block::Dense(layer) = &mut artifact.graph.blocks[0] else { panic!() };
    layer.bias[0] = f64::NAN;
    assert!(artifact.to_bytes().unwrap_err().to_string().contains("not finite"));
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn the_first_format_is_still_read() {
    let content = include_bytes!("../../../tests/compat/artifact-1.safetensors");
    assert_eq!(Artifact::from_bytes(content).unwrap(), deep());
}

/// A layer of `[outputs, inputs]` with weights that differ.
fn layer(outputs: usize, inputs: usize) -> Layer {
    let weight = Array2::from_shape_fn((outputs, inputs), |(o, i)| ((3 * o + 5 * i) % 7) as f64 / 7.0 - 0.4);
    Layer { weight, bias: Array1::from_shape_fn(outputs, |o| o as f64 / 10.0) }
}

/// Three classes from tokens: a number, a name of one level, attention and every kind of block.
fn tokens() -> Artifact {
    let norm = Norm { epsilon: 1e-5, gain: Array1::ones(4), bias: Array1::zeros(4) };
    let batch = BatchNorm {
        epsilon: 1e-5,
        mean: Array1::zeros(4),
        variance: Array1::ones(4),
        gain: Array1::ones(4),
        bias: Array1::zeros(4),
    };
    let attention =
        Attention { heads: 2, query: layer(4, 4), key: layer(4, 4), value: layer(4, 4), output: layer(4, 4) };
    let input = Input::Tokens {
        groups: vec![1, 1],
        weight: layer(2, 4).weight,
        bias: layer(2, 4).weight,
        embeddings: Vec::new(),
        cls: Array1::ones(4),
    };
    let blocks = vec![
        Block::Residual { blocks: vec![Block::LayerNorm(norm), Block::Attention(Box::new(attention))] },
        Block::Residual { blocks: vec![Block::Dense(layer(6, 4)), Block::Gelu, Block::Dense(layer(4, 6))] },
        Block::Cls,
        Block::BatchNorm(batch),
        Block::Relu,
        Block::Dense(layer(3, 4)),
    ];
    Artifact {
        task: Task::Multiclass,
        classes: vec!["a".into(), "b".into(), "c".into()],
        graph: Graph { input, blocks },
        output: Output { temperature: 1.5, ..Output::plain(Link::Softmax) },
        ..deep()
    }
}

#[test]
fn a_graph_of_tokens_survives_the_file_and_gives_probabilities() {
    let bytes = tokens().to_bytes().unwrap();
    let read = Artifact::from_bytes(&bytes).unwrap();
    assert_eq!(read, tokens());
    // More rows than are evaluated at once.
    let columns =
        [Column { name: "x".into(), values: (0..2_500).map(|x| Value::Number(f64::from(x))).collect() }];
    let answers = read.predict(2_500, &columns);
    assert_eq!(answers.dim(), (2_500, 3));
    assert!(answers.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-12));
    assert_ne!(answers.row(0), answers.row(2_000));
    assert_eq!(read.predict(0, &[]).dim(), (0, 3));
}

#[test]
fn a_tree_sends_rows_to_its_leaves() {
    let nodes = vec![
        Node::Split { column: 0, threshold: 0.0, left: 1, right: 2 },
        Node::Leaf { scores: vec![-1.0] },
        Node::Leaf { scores: vec![1.0] },
    ];
    let graph =
        Graph { input: Input::Flat { embeddings: vec![] }, blocks: vec![Block::Tree(Tree { nodes })] };
    let mut artifact = Artifact { kind: ModelKind::Tree, graph, ..deep() };
    let read = Artifact::from_bytes(&artifact.to_bytes().unwrap()).unwrap();
    let answer = |x: f64| read.predict(1, &columns(Value::Number(x), Value::Missing))[[0, 0]];
    assert!((answer(0.0) - 8.0).abs() < 1e-12 && (answer(1.0) - 12.0).abs() < 1e-12);
    let Block::Tree(tree) = &mut artifact.graph.blocks[0] else { panic!() };
    tree.nodes[0] = Node::Split { column: 0, threshold: 0.0, left: 0, right: 2 };
    assert!(artifact.to_bytes().unwrap_err().to_string().contains("do not come after it"));
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let mut narrow = tokens();
    let Input::Tokens { groups, .. } = &mut narrow.graph.input else { panic!() };
    groups.pop();
    assert!(narrow.to_bytes().unwrap_err().to_string().contains("graph.input"));
    let mut heads = tokens();
    let Block::Residual { blocks } = &mut heads.graph.blocks[0] else { panic!() };
    let Block::Attention(attention) = &mut blocks[1] else { panic!() };
    attention.heads = 3;
    assert!(heads.to_bytes().unwrap_err().to_string().contains("4 columns cannot be shared by 3 heads"));
    assert!(heads.predict(1, &[]).iter().all(|number| number.is_finite()), "it still answers");
    let link = Artifact { output: Output::plain(Link::Identity), ..tokens() };
    assert!(link.to_bytes().unwrap_err().to_string().contains("link Identity is none of a Multiclass task"));
}

proptest! {
    #[test]
    fn no_bytes_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Artifact::from_bytes(&noise).is_err());
    }

    #[test]
    fn a_damaged_file_reads_or_says_why(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = deep().to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(artifact) = Artifact::from_bytes(&bytes) {
            let predicted = artifact.predict(1, &columns(Value::Number(1e308), Value::Missing));
            prop_assert!(predicted.len() == 1 && predicted[[0, 0]].is_finite());
        }
    }

    #[test]
    fn predictions_are_finite_and_one_per_row(x in any::<f64>(), rows in 0_usize..4) {
        let mut artifact = deep();
        let columns = [Column { name: "x".into(), values: vec![Value::Number(x); rows] }];
        prop_assert!(artifact.predict(rows, &columns).iter().all(|number| number.is_finite()));
        artifact.task = Task::Binary;
        artifact.output = Output::plain(Link::Sigmoid);
        let probabilities = artifact.predict(rows, &columns);
        prop_assert_eq!(probabilities.dim(), (rows, 1));
        prop_assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
    }
}
