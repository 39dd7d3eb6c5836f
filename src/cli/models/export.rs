//! `driftline models export`: a version in the forms that serving stacks load.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use sqlx::PgPool;

use super::super::ExitStatus;
use super::super::retrain::plain_table;
use super::{card, find};
use crate::model::ModelName;
use crate::retrain::artifact::sha256;
use crate::retrain::export::{self, About, BundleFile, Format};
use crate::store::artifact_file;

/// What to export, as what, and where to.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The model
    #[arg(short, long, required_unless_present = "artifact")]
    model: Option<ModelName>,
    /// The version; the one in production when left out
    #[arg(id = "exported", value_name = "VERSION", conflicts_with = "artifact")]
    version: Option<i64>,
    /// An artifact's file instead of a registered version; needs no database
    #[arg(long, value_name = "FILE")]
    pub(super) artifact: Option<PathBuf>,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// What to write
    #[arg(long, value_delimiter = ',', default_value = "all", value_parser = ["onnx", "torchscript", "triton", "mlflow", "all"])]
    format: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn formats(&self) -> Vec<Format> {
        let all = self.format.iter().any(|word| word == "all");
        Format::ALL
            .into_iter()
            .filter(|format| all || self.format.iter().any(|word| word == format.as_str()))
            .collect()
    }
}

/// Exports a version of the registry.
///
/// # Errors
///
/// When there is no such version, its artifact cannot be read, or the folder cannot be written.
pub(super) async fn from_registry(pool: &PgPool, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let Some(model) = &arguments.model else { bail!("give --model or --artifact") };
    let found = find(pool, model, arguments.version).await?;
    let artifact = artifact_file::read(&found)?;
    let card = card::card_of(pool, &found).await?;
    let about =
        About { model: found.model, version: Some(found.version), artifact_sha256: found.artifact_sha256 };
    write(arguments, &export::bundle(&artifact, &about, &arguments.formats(), card::files(&card)?)?, out)
}

/// Exports an artifact's file.
///
/// # Errors
///
/// When the file cannot be read or the folder cannot be written.
pub(super) fn from_file(arguments: &Arguments, out: &mut impl Write) -> Result<ExitStatus> {
    let Some(path) = &arguments.artifact else { bail!("give --model or --artifact") };
    let content = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    let artifact = crate::retrain::Artifact::from_bytes(&content)
        .with_context(|| format!("`{}` is not an artifact", path.display()))?;
    let model = arguments.model.as_ref().map_or_else(|| "model".to_owned(), ToString::to_string);
    let about = About { model, version: None, artifact_sha256: sha256(&content) };
    write(arguments, &export::bundle(&artifact, &about, &arguments.formats(), Vec::new())?, out)?;
    Ok(ExitStatus::Success)
}

fn write(arguments: &Arguments, files: &[BundleFile], out: &mut impl Write) -> Result<()> {
    artifact_file::write_folder(&arguments.to, files)?;
    if arguments.json {
        let listed: Vec<_> = files
            .iter()
            .map(|file| json!({"path": file.path, "bytes": file.content.len(), "sha256": sha256(&file.content)}))
            .collect();
        writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(&json!({"folder": arguments.to, "files": listed}))?
        )?;
        return Ok(());
    }
    let mut table = plain_table(&["FILE", "BYTES", "SHA-256"]);
    for file in files {
        table.add_row([
            shown(&arguments.to, &file.path),
            file.content.len().to_string(),
            sha256(&file.content).chars().take(12).collect(),
        ]);
    }
    writeln!(out, "{table}")?;
    if files.iter().any(|file| file.path == "onnx/verify.py") {
        let script = shown(&arguments.to, "onnx/verify.py");
        writeln!(
            out,
            "`python3 {script}` compares the ONNX files with driftline in ONNX Runtime and measures them"
        )?;
    }
    Ok(())
}

fn shown(folder: &Path, path: &str) -> String {
    folder.join(path).display().to_string()
}
