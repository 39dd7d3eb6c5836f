//! Training in the middle of trouble: stopped, out of memory, diverging, out of time.

use std::sync::atomic::{AtomicU64, Ordering};

use driftline::retrain::artifact::{Link, Output};
use driftline::retrain::spec::{Architecture, AttentionSpec, Normalisation};
use driftline::stats::random::SplitMix64;
use ndarray::Array2;

use super::*;
use crate::journal::{Event, Stop};

const ROWS: usize = 600;

struct Data {
    numbers: Array2<f64>,
    codes: Array2<u32>,
    targets: Vec<f64>,
    weights: Vec<f64>,
}

fn data() -> Data {
    let mut random = SplitMix64::new(9);
    let numbers =
        Array2::from_shape_simple_fn((ROWS, 3), || random.next_u64() as f64 / u64::MAX as f64 - 0.5);
    let codes = Array2::from_shape_fn((ROWS, 1), |(row, _)| u32::try_from(row % 4).unwrap());
    let targets = numbers
        .rows()
        .into_iter()
        .zip(&codes)
        .map(|(row, code)| row[0] * row[1] * f64::from(*code))
        .collect();
    Data { numbers, codes, targets, weights: vec![1.0; ROWS] }
}

fn shape() -> Shape {
    Shape { groups: vec![1, 2], cardinalities: vec![4], outputs: 1 }
}

fn deep() -> DeepSpec {
    DeepSpec {
        hidden: vec![16, 16],
        max_epochs: 8,
        patience: 8,
        batch_size: Some(64),
        dropout: 0.2,
        norm: Normalisation::Batch,
        ..DeepSpec::default()
    }
}

fn request<'a>(shape: &'a Shape, deep: &'a DeepSpec, limits: &'a LimitsSpec) -> Request<'a> {
    Request {
        candidate: "deep",
        objective: Objective::Mse,
        output: Output::plain(Link::Identity),
        shape,
        deep,
        limits,
        spent: 0.0,
        seed: 4,
        device: Device::Cpu,
        checkpoints: None,
        fault: None,
    }
}

/// libtorch's generator is one for the whole process, so that trainings of other tests must not come between.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn run(request: Request<'_>, stop: Stop) -> (Result<DeepFit, Halt>, Vec<String>) {
    let data = data();
    let (journal, mut events) = Journal::new(stop);
    let part = Part {
        numbers: data.numbers.view(),
        codes: data.codes.view(),
        targets: &data.targets,
        weights: &data.weights,
    };
    let fitted = train(request, part, part, &journal);
    drop(journal);
    let mut lines = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Line { message, .. } = event {
            lines.push(message);
        }
    }
    (fitted, lines)
}

#[test]
fn a_stopped_training_goes_on_to_the_same_weights() {
    static STOP: std::sync::Mutex<Option<Stop>> = std::sync::Mutex::new(None);
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let (shape, limits) = (shape(), LimitsSpec::default());
    let attention = AttentionSpec { width: 8, blocks: 1, heads: 2 };
    let tokens = DeepSpec { architecture: Architecture::FtTransformer, attention, ..deep() };
    for deep in [deep(), DeepSpec { norm: Normalisation::Layer, ..deep() }, tokens] {
        let (whole, _) = run(request(&shape, &deep, &limits), Stop::default());
        let whole = whole.unwrap();
        assert_eq!(whole.epochs, 8);
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints {
            path: folder.path().join("deep.checkpoint"),
            every: Duration::from_mins(1),
            identity: "x".into(),
        };
        let with = Request { checkpoints: Some(&checkpoints), ..request(&shape, &deep, &limits) };
        // Told to stop in the middle of the fourth epoch.
        *STOP.lock().unwrap() = Some(Stop::default());
        let fault: fn(usize, u64) -> Option<TchError> = |_, update| {
            if update == 34 {
                STOP.lock().unwrap().as_ref().unwrap().set(StopReason::Shutdown);
            }
            None
        };
        let stop = STOP.lock().unwrap().clone().unwrap();
        let (stopped, _) = run(Request { fault: Some(fault), ..with }, stop);
        assert_eq!(stopped.unwrap_err(), Halt::Stopped(StopReason::Shutdown));
        let (resumed, lines) = run(with, Stop::default());
        assert!(lines.iter().any(|line| line == "going on after epoch 3, step 5"), "{lines:?}");
        let resumed = resumed.unwrap();
        assert_eq!(resumed.graph, whole.graph, "{deep:?}");
        assert_eq!((resumed.best_epoch, resumed.epochs), (whole.best_epoch, whole.epochs));
        assert!(!checkpoints.path.exists(), "a checkpoint of a training that ended is of no use");
    }
}

#[test]
fn out_of_memory_halves_the_batch_and_says_so() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let (shape, limits) = (shape(), LimitsSpec::default());
    let deep = DeepSpec { dropout: 0.0, norm: Normalisation::None, ..deep() };
    let (whole, _) = run(request(&shape, &deep, &limits), Stop::default());
    let full: fn(usize, u64) -> Option<TchError> = |rows, _| {
        (rows > 20).then(|| TchError::Torch("CUDA out of memory. Tried to allocate 2.00 GiB".to_owned()))
    };
    let (halved, lines) =
        run(Request { fault: Some(full), ..request(&shape, &deep, &limits) }, Stop::default());
    assert!(lines.iter().any(|line| line.contains("out of memory with 64 rows at once")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("16 rows at a time from here on")), "{lines:?}");
    let (whole, halved) = (whole.unwrap(), halved.unwrap());
    let gap = (whole.validation_loss - halved.validation_loss).abs();
    assert!(gap < 1e-4, "the steps are the same but for rounding: {gap}");
    let never: fn(usize, u64) -> Option<TchError> = |_, _| Some(TchError::Torch("out of memory".to_owned()));
    let (failed, _) = run(Request { fault: Some(never), ..request(&shape, &deep, &limits) }, Stop::default());
    assert!(failed.unwrap_err().to_string().contains("with one row at a time"));
}

#[test]
fn a_training_that_diverges_goes_back_with_a_lower_rate() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let (shape, limits) = (shape(), LimitsSpec::default());
    let wild = DeepSpec { learning_rate: 1e25, dropout: 0.0, norm: Normalisation::None, ..deep() };
    let (failed, lines) = run(request(&shape, &wild, &limits), Stop::default());
    let problem = failed.unwrap_err().to_string();
    assert!(problem.contains("diverged in epoch") && problem.contains("3 times over"), "{problem}");
    let lower = "with a learning rate of 3.000e24";
    assert!(
        lines.iter().any(|line| line.contains("going back to the end of epoch 0") && line.contains(lower)),
        "{lines:?}"
    );
    assert_eq!(lines.iter().filter(|line| line.contains("going back")).count(), 3);
}

#[test]
fn a_limit_of_time_keeps_the_best_epoch() {
    static SLOW: AtomicU64 = AtomicU64::new(0);
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let (shape, deep) = (shape(), DeepSpec { max_epochs: 100_000, patience: 100_000, ..deep() });
    let limits = LimitsSpec { max_minutes: Some(0.01), ..LimitsSpec::default() };
    let slow: fn(usize, u64) -> Option<TchError> = |_, update| {
        SLOW.store(update, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
        None
    };
    let (fitted, lines) =
        run(Request { fault: Some(slow), ..request(&shape, &deep, &limits) }, Stop::default());
    let fitted = fitted.unwrap();
    assert!(fitted.epochs < 100 && SLOW.load(Ordering::Relaxed) > 0);
    assert!(
        lines.iter().any(|line| line.starts_with("limits.max_minutes 0.01 is over after epoch")),
        "{lines:?}"
    );
    let none = Request { spent: 60.0, ..request(&shape, &deep, &limits) };
    let problem = run(none, Stop::default()).0.unwrap_err().to_string();
    assert!(problem.contains("is over before the first epoch was"), "{problem}");
}
