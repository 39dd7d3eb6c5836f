//! Exports in the runtimes that they are for: ONNX's checker and ONNX Runtime; `LibTorch` is in the trainer's tests.

use std::path::Path;
use std::process::Command;

use driftline::model::FeatureKind;
use driftline::retrain::artifact::{
    Attention, BatchNorm, Block, Embedding, Graph, Input, Layer, Link, ModelKind, Node, Norm, Output, Tree,
};
use driftline::retrain::export::{About, Format, bundle};
use driftline::retrain::pipeline::{Combination, DatePart, Pipeline, Step};
use driftline::retrain::{Artifact, Task};
use driftline::store::artifact_file;
use ndarray::{Array1, Array2};
use serde_json::Value as Json;

/// Numbers that are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 30) as f64 - 1.0
    }

    fn vector(&mut self, size: usize) -> Array1<f64> {
        Array1::from_shape_simple_fn(size, || self.next())
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> Array2<f64> {
        let scale = 1.0 / (columns as f64).sqrt();
        Array2::from_shape_simple_fn((rows, columns), || scale * self.next())
    }

    fn dense(&mut self, inputs: usize, outputs: usize) -> Block {
        Block::Dense(self.layer(inputs, outputs))
    }

    fn layer(&mut self, inputs: usize, outputs: usize) -> Layer {
        Layer { weight: self.matrix(outputs, inputs), bias: self.vector(outputs) }
    }

    fn embeddings(&mut self, pipeline: &Pipeline, width: usize) -> Vec<Embedding> {
        pipeline
            .cardinalities()
            .into_iter()
            .map(|rows| Embedding { weight: self.matrix(rows, width) })
            .collect()
    }
}

/// Every kind of step.
fn pipeline() -> Pipeline {
    let texts = |levels: &[&str]| levels.iter().map(|level| (*level).to_owned()).collect::<Vec<_>>();
    let numeric = |name: &str, knots: &[f64], indicator| Step::Numeric {
        name: name.to_owned(),
        mean: 3.0,
        scale: 2.0,
        missing: 0.25,
        knots: knots.to_vec(),
        indicator,
    };
    let interaction = |of, name: &str| Step::Interaction {
        of,
        left: "x".into(),
        right: "y".into(),
        name: name.into(),
        mean: 0.5,
        scale: 4.0,
    };
    let one_hot =
        |name: &str, kind, levels: &[&str]| Step::OneHot { name: name.into(), kind, levels: texts(levels) };
    Pipeline {
        steps: vec![
            Step::standard("x", 3.0, 2.0),
            Step::standard("constant", 7.0, 0.0),
            one_hot("weather \"é\"", FeatureKind::Categorical, &["mist", "1", "clear sky"]),
            one_hot("holiday", FeatureKind::Boolean, &["false", "true"]),
            numeric("y", &[], true),
            numeric("q", &[-1.0, 0.0, 0.0, 2.5, 9.0], true),
            Step::Embedded {
                name: "station".into(),
                levels: texts(&["a", "b", "c", "d"]),
                common: vec![2, 0],
            },
            Step::Date {
                name: "when".into(),
                parts: vec![
                    DatePart::Hour,
                    DatePart::Weekday,
                    DatePart::Monthday,
                    DatePart::Month,
                    DatePart::Yearday,
                ],
            },
            interaction(Combination::Product, "x*y"),
            interaction(Combination::Ratio, "x/y"),
        ],
    }
}

fn artifact(task: Task, kind: ModelKind, graph: Graph, output: Output) -> Artifact {
    let classes =
        if task == Task::Multiclass { ["low", "mid", "high"].map(str::to_owned).to_vec() } else { vec![] };
    Artifact { task, target: "demand".to_owned(), kind, classes, pipeline: pipeline(), graph, output }
}

fn linear() -> Artifact {
    let mut numbers = Numbers(1);
    let width = pipeline().width();
    let graph = Graph { input: Input::Flat { embeddings: vec![] }, blocks: vec![numbers.dense(width, 1)] };
    let output = Output { offset: 120.0, scale: 40.0, ..Output::plain(Link::Identity) };
    artifact(Task::Regression, ModelKind::Linear, graph, output)
}

fn tree() -> Artifact {
    let mut numbers = Numbers(2);
    let split = |column, left, right| Node::Split { column, threshold: 0.1, left, right };
    let mut leaf = || Node::Leaf { scores: numbers.vector(3).to_vec() };
    let nodes = vec![split(0, 1, 2), split(6, 3, 4), leaf(), leaf(), split(8, 5, 6), leaf(), leaf()];
    let graph =
        Graph { input: Input::Flat { embeddings: vec![] }, blocks: vec![Block::Tree(Tree { nodes })] };
    artifact(Task::Multiclass, ModelKind::Tree, graph, Output::plain(Link::Softmax))
}

fn perceptron() -> Artifact {
    let mut numbers = Numbers(4);
    let width = pipeline().width();
    let norm = BatchNorm {
        epsilon: 1e-5,
        mean: numbers.vector(48),
        variance: numbers.vector(48).mapv(|number| 1.5 + number),
        gain: numbers.vector(48),
        bias: numbers.vector(48),
    };
    let residual = Block::Residual {
        blocks: vec![numbers.dense(48, 48), Block::BatchNorm(norm), Block::Gelu, numbers.dense(48, 48)],
    };
    let embeddings = numbers.embeddings(&pipeline(), 5);
    let blocks = vec![numbers.dense(width + 5, 48), Block::Relu, residual, Block::Relu, numbers.dense(48, 1)];
    let output = Output { temperature: 1.7, ..Output::plain(Link::Sigmoid) };
    artifact(Task::Binary, ModelKind::Deep, Graph { input: Input::Flat { embeddings }, blocks }, output)
}

fn transformer() -> Artifact {
    let mut numbers = Numbers(5);
    let (width, columns) = (pipeline().width(), 16);
    let groups = pipeline().groups();
    let embeddings = numbers.embeddings(&pipeline(), columns);
    let input = Input::Tokens {
        weight: numbers.matrix(width, columns),
        bias: numbers.matrix(groups.len() + embeddings.len(), columns),
        cls: numbers.vector(columns),
        groups,
        embeddings,
    };
    let norm =
        || Block::LayerNorm(Norm { epsilon: 1e-5, gain: Numbers(6).vector(16), bias: Numbers(7).vector(16) });
    let attention = Attention {
        heads: 4,
        query: numbers.layer(columns, columns),
        key: numbers.layer(columns, columns),
        value: numbers.layer(columns, columns),
        output: numbers.layer(columns, columns),
    };
    let blocks = vec![
        Block::Residual { blocks: vec![norm(), Block::Attention(Box::new(attention))] },
        Block::Residual {
            blocks: vec![norm(), numbers.dense(columns, 32), Block::Gelu, numbers.dense(32, columns)],
        },
        Block::Cls,
        norm(),
        Block::Relu,
        numbers.dense(columns, 3),
    ];
    artifact(Task::Multiclass, ModelKind::Deep, Graph { input, blocks }, Output::plain(Link::Softmax))
}

fn counts() -> Artifact {
    let mut numbers = Numbers(8);
    let width = pipeline().width();
    let embeddings = numbers.embeddings(&pipeline(), 2);
    let blocks = vec![numbers.dense(width + 2, 32), Block::Relu, numbers.dense(32, 1)];
    let output = Output { offset: 2.0, ..Output::plain(Link::Exp) };
    artifact(Task::Regression, ModelKind::Deep, Graph { input: Input::Flat { embeddings }, blocks }, output)
}

fn export(model: &Artifact, to: &Path) {
    let about = About { model: "bike".to_owned(), version: Some(3), artifact_sha256: "0".repeat(64) };
    artifact_file::write_folder(to, &bundle(model, &about, &Format::ALL, Vec::new()).unwrap()).unwrap();
}

#[test]
fn onnx_runtime_answers_as_driftline_does() {
    let python = std::env::var("DRIFTLINE_TEST_PYTHON")
        .expect("DRIFTLINE_TEST_PYTHON names a Python with onnx and onnxruntime; `make test` sets it");
    let models = [
        ("linear", linear()),
        ("tree", tree()),
        ("perceptron", perceptron()),
        ("transformer", transformer()),
        ("counts", counts()),
    ];
    let root = tempfile::tempdir().unwrap();
    for (name, model) in models {
        let folder = root.path().join(name);
        export(&model, &folder);
        let script = folder.join("onnx/verify.py");
        let run = Command::new(&python).arg(script).args(["--json", "--repeats", "5"]).output().unwrap();
        let told = String::from_utf8_lossy(&run.stderr);
        let found: Vec<Json> =
            serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("{name}: {told}"));
        assert!(run.status.success(), "{name}: {found:?} {told}");
        assert_eq!(found[0]["checked_by_onnx"], true, "{name}");
        let error = |form: &Json| form["max_error"].as_f64().unwrap();
        assert!(error(&found[0]) < 1e-5, "{name}: {found:?}");
        let is_deep = model.kind == ModelKind::Deep;
        assert_eq!(found.len(), if is_deep { 3 } else { 1 }, "{name}");
        for form in &found[1..] {
            assert!(
                error(form) < 0.3 && form["bytes"].as_u64() < found[0]["bytes"].as_u64(),
                "{name}: {form}"
            );
        }
    }
}
