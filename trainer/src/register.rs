//! What a won run leaves behind: the artifact's file, the new baseline and the registration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use driftline::baseline::{
    self, Baseline, Blocks, BuildOptions, CutOptions, Cycle, SegmentSources, SourceColumn,
};
use driftline::model::{FeatureKind, Role, Value};
use driftline::retrain::artifact::{Artifact, FILE_NAME, sha256};
use driftline::retrain::export::{self, About, Format};
use driftline::retrain::{Task, TrainingSpec};
use driftline::store::artifact_file;
use driftline::store::model_version::{ModelVersion, Registration};
use driftline::store::snapshot::Snapshot;
use driftline::store::training_run::{Claim, TrainingRun};
use driftline::window::window_index;
use serde_json::json;
use tch::Device;

use crate::checkpoint::write_atomically;
use crate::contest::{Incumbent, Outcome};
use crate::dataset::Dataset;
use crate::device;

/// Writes `content` to `folder/model.safetensors`, whole or not at all.
///
/// # Errors
///
/// Names the file that could not be written.
pub(crate) fn write_artifact(folder: &Path, content: &[u8]) -> Result<PathBuf> {
    let path = folder.join(FILE_NAME);
    write_atomically(&path, content)
        .with_context(|| format!("the artifact `{}` could not be written", path.display()))?;
    path.canonicalize().with_context(|| format!("the artifact `{}` is gone", path.display()))
}

/// Whether artifacts can be written to the folder, before any training.
///
/// # Errors
///
/// Says what is wrong with the folder.
pub(crate) fn check_store(spec: &TrainingSpec) -> Result<()> {
    let folder = Path::new(&spec.artifacts).join(spec.model.as_str());
    let probe = folder.join(format!(".probe.{}", std::process::id()));
    write_atomically(&probe, b"can be written")
        .and_then(|()| fs::remove_file(&probe))
        .with_context(|| format!("artifacts cannot be written to `{}`", folder.display()))
}

/// Where a training of the run is written down. Not by attempt: the next one goes on with it.
pub(crate) fn checkpoint_path(spec: &TrainingSpec, claim: &Claim) -> PathBuf {
    Path::new(&spec.artifacts).join(spec.model.as_str()).join(claim.run.to_string()).join("deep.checkpoint")
}

/// Writes the forms that the specification asks for to the folder `export` beside the artifact; none when it asks for none.
///
/// # Errors
///
/// Says what could not be written.
pub(crate) fn export(
    spec: &TrainingSpec,
    artifact: &Artifact,
    sha256: &str,
    path: &Path,
) -> Result<Option<PathBuf>> {
    let formats: Vec<Format> = spec.export.formats.iter().filter_map(|word| Format::parse(word)).collect();
    if formats.is_empty() {
        return Ok(None);
    }
    let about = About { model: spec.model.to_string(), version: None, artifact_sha256: sha256.to_owned() };
    let folder = path.with_file_name("export");
    artifact_file::write_folder(&folder, &export::bundle(artifact, &about, &formats, Vec::new())?)?;
    Ok(Some(folder))
}

/// Folder of a run's artifact. The attempt is part of it, so that a worker that lost its lease cannot replace
/// the file that another one registered.
pub(crate) fn folder(spec: &TrainingSpec, claim: &Claim) -> PathBuf {
    Path::new(&spec.artifacts)
        .join(spec.model.as_str())
        .join(claim.run.to_string())
        .join(claim.attempt.to_string())
}

/// Reads the artifact of a version and checks its hash.
///
/// # Errors
///
/// Says what is wrong with the file.
pub(crate) fn read_artifact(version: &ModelVersion) -> Result<Incumbent> {
    let path = version.artifact_uri.strip_prefix("file://").unwrap_or(&version.artifact_uri);
    let content = fs::read(path)
        .with_context(|| format!("the artifact of version {}, `{path}`, cannot be read", version.version))?;
    let found = sha256(&content);
    if found != version.artifact_sha256 {
        bail!(
            "the artifact of version {}, `{path}`, has SHA-256 {found}; the registry says {}",
            version.version,
            version.artifact_sha256
        );
    }
    let artifact = Artifact::from_bytes(&content)
        .with_context(|| format!("the artifact of version {}, `{path}`", version.version))?;
    Ok(Incumbent { version: version.version, artifact })
}

/// The baseline that goes with the new version: the features that the new model uses as inputs, its answers to
/// them as output, over the whole snapshot.
///
/// # Errors
///
/// Says why no baseline can be built.
pub(crate) fn new_baseline(spec: &TrainingSpec, dataset: &Dataset, artifact: &Artifact) -> Result<Baseline> {
    let numbers = artifact.predict_one(dataset.rows(), &dataset.columns);
    let (kind, answers): (FeatureKind, Vec<Value>) = match artifact.task {
        Task::Regression | Task::Binary => {
            (FeatureKind::Numeric, numbers.into_iter().map(Value::Number).collect())
        }
        Task::Multiclass => {
            let name = |number: f64| {
                let class =
                    (0..).zip(&artifact.classes).find(|(at, _)| (f64::from(*at) - number).abs() < 0.5);
                class.map_or(Value::Missing, |(_, class): (u32, _)| Value::Text(class.clone()))
            };
            (FeatureKind::Categorical, numbers.into_iter().map(name).collect())
        }
    };
    // A feature that the pipeline left out may have no value at all, of which there is no profile.
    let inputs = artifact.features().filter_map(|(name, kind)| {
        let column = dataset.columns.iter().find(|column| column.name == name)?;
        Some(SourceColumn { name, role: Role::Feature, kind: Some(kind), values: &column.values })
    });
    let output = SourceColumn { name: &spec.output, role: Role::Output, kind: Some(kind), values: &answers };
    let columns: Vec<SourceColumn<'_>> = inputs.chain([output]).collect();
    let window = Duration::from_secs(spec.window_seconds);
    let of_row: Vec<i64> = dataset.times.iter().map(|time| window_index(*time, window)).collect();
    // Named after the rows, not the run: the same rows give the same baseline.
    let source = format!("snapshot {}", dataset.snapshot(spec).hash);
    let options = BuildOptions { model: spec.model.clone(), source, cut: CutOptions::default(), joint: true };
    let blocks = Blocks { of_row: &of_row, cycle: Cycle::new(spec.season, window) };
    let segments = spec.segments.as_ref();
    let by: Vec<SourceColumn<'_>> = dataset
        .columns
        .iter()
        .filter(|column| {
            segments.is_some_and(|segments| segments.columns.iter().any(|other| *other == *column.name))
        })
        .map(|column| {
            let known = artifact.features().find(|(name, _)| *name == column.name.as_str());
            let kind = known.map(|(_, kind)| kind);
            SourceColumn { name: &column.name, role: Role::Feature, kind, values: &column.values }
        })
        .filter(has_categories)
        .collect();
    let segments = SegmentSources { by: &by, values: segments.map_or(0, |segments| segments.values) };
    baseline::build_segmented(&columns, (!of_row.is_empty()).then_some(blocks), segments, options)
        .context("no baseline could be built from the snapshot")
}

/// Whether a baseline can be segmented by `column`; one that it cannot be is no reason to lose a version that has won.
fn has_categories(column: &SourceColumn<'_>) -> bool {
    let kind = column.kind.or_else(|| baseline::infer_kind(column.values));
    kind.is_some_and(|kind| kind != FeatureKind::Numeric)
}

/// Everything that the registry is told about a won run.
pub(crate) fn registration(
    spec: &TrainingSpec,
    run: &TrainingRun,
    outcome: &Outcome,
    snapshot: Snapshot,
    baseline: Baseline,
    written: (&Path, String),
    context: (Option<i64>, Device),
) -> Registration {
    Registration {
        model: spec.model.clone(),
        kind: outcome.artifact.kind,
        artifact_uri: written.0.display().to_string(),
        artifact_sha256: written.1,
        metrics: outcome.metrics.clone(),
        parameters: outcome.parameters.clone(),
        seed: spec.seed,
        snapshot,
        baseline,
        parent: context.0,
        build: json!({
            "driftline": env!("CARGO_PKG_VERSION"),
            "commit": option_env!("DRIFTLINE_COMMIT"),
            "libtorch": device::LIBTORCH,
            "device": device::name(context.1),
            "threads": spec.limits.threads,
        }),
        reason: format!("{}: {}", run.reason_kind, run.reason),
    }
}
