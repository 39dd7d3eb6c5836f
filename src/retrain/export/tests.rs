//! Exports of every kind of model: what holds without a runtime. `tests/it/export.rs` runs them.

use ndarray::array;

use super::*;
use crate::retrain::artifact::{Graph, Layer, Link, ModelKind, Output};
use crate::retrain::pipeline::{DatePart, Pipeline, Step};

fn about() -> About {
    About { model: "bike".to_owned(), version: Some(3), artifact_sha256: "0".repeat(64) }
}

fn artifact(steps: Vec<Step>) -> Artifact {
    let pipeline = Pipeline { steps };
    let weight = ndarray::Array2::from_elem((1, pipeline.width()), 0.5);
    Artifact {
        task: Task::Regression,
        target: "y".to_owned(),
        kind: ModelKind::Linear,
        classes: Vec::new(),
        pipeline,
        graph: Graph::dense(vec![Layer { weight, bias: array![1.0] }]),
        output: Output::plain(Link::Identity),
    }
}

fn date(name: &str) -> Step {
    Step::Date { name: name.to_owned(), parts: vec![DatePart::Hour] }
}

#[test]
fn every_file_is_in_the_manifest_with_its_hash() {
    let model = artifact(vec![Step::standard("x", 1.0, 2.0)]);
    let card = BundleFile { path: "card.md".to_owned(), content: b"# bike".to_vec() };
    let files = bundle(&model, &about(), &Format::ALL, vec![card]).unwrap();
    let manifest = files.iter().find(|file| file.path == MANIFEST).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.content).unwrap();
    let listed = manifest["files"].as_array().unwrap();
    assert_eq!(listed.len() + 1, files.len());
    for entry in listed {
        let file = files.iter().find(|file| file.path == entry["path"]).unwrap();
        assert_eq!(entry["sha256"], sha256(&file.content), "{}", file.path);
    }
    for path in [
        "card.md",
        "model.safetensors",
        "onnx/model.onnx",
        "torchscript/model.pt",
        "triton/bike/config.pbtxt",
        "triton/bike/3/model.onnx",
        "mlflow/MLmodel",
    ] {
        assert!(listed.iter().any(|entry| entry["path"] == path), "{path}");
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let model = artifact(vec![Step::standard("x", 1.0, 2.0), date("t")]);
    let once = bundle(&model, &about(), &Format::ALL, Vec::new()).unwrap();
    assert_eq!(once, bundle(&model, &about(), &Format::ALL, Vec::new()).unwrap());
}

#[test]
fn a_name_that_a_format_cannot_hold_is_told() {
    #[track_caller]
    fn check(steps: Vec<Step>, expected: &str) {
        let problem = bundle(&artifact(steps), &about(), &[Format::Onnx], Vec::new()).unwrap_err();
        assert!(problem.to_string().contains(expected), "{problem}");
    }
    check(vec![Step::standard("prediction", 0.0, 1.0)], "feature `prediction`");
    check(vec![Step::standard("", 0.0, 1.0)], "does not begin with a slash");
    let text = Step::OneHot { name: "t".into(), kind: FeatureKind::Categorical, levels: vec!["a".into()] };
    check(vec![text, date("t")], "read as a time");
}

#[test]
fn a_column_may_be_a_number_and_a_time() {
    let found = inputs(&artifact(vec![Step::standard("t", 0.0, 1.0), date("t"), date("u")])).unwrap();
    let named: Vec<(&str, &str)> = found.iter().map(|input| (input.name.as_str(), input.kind)).collect();
    assert_eq!(named, [("t", "number"), ("u", "time")]);
}
