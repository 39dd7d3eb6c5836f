//! `driftline baseline`: build, merge, list, show, diff, activate.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table as TextTable, presets};
use serde_json::json;

use super::ExitStatus;
use super::baseline_traffic::from_traffic;
use crate::app;
use crate::baseline::{
    self, Baseline, Blocks, BuildOptions, CutOptions, Cycle, Part, PartError, Season, SegmentSources,
    SegmentedBy, SourceColumn,
};
use crate::config::{ModelSettings, Settings, Span};
use crate::drift::BaselineDiff;
use crate::frames::{self, Table};
use crate::model::{FeatureKind, ModelName, Role};
use crate::profile::{Cut, DEFAULT_SEGMENT_VALUES, MAX_SEGMENT_COLUMNS, format_number};
use crate::store;
use crate::tasks;
use crate::window::window_index;
use crate::yaml::hint;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Build a baseline from reference data, write it, register it and make it active
    Build(Box<Build>),
    /// Merge parts that `build --part` wrote into one baseline, write it, register it and make it active
    Merge(Merge),
    /// List the registered baselines of a model
    List {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a baseline holds
    Show {
        /// A baseline file
        file: PathBuf,
        /// Print the document itself
        #[arg(long)]
        json: bool,
    },
    /// Compare two baselines as if the second were a window
    Diff {
        /// The baseline to compare with
        from: PathBuf,
        /// The other baseline
        to: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Judge windows against another registered version from now on
    Activate {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// The version
        #[arg(id = "activated", value_name = "VERSION")]
        version: String,
    },
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("reference").required(true).args(["data", "from_traffic"])))]
pub(super) struct Build {
    /// Reference data: .parquet, .csv, .jsonl
    data: Option<PathBuf>,
    /// Build from the rows that were captured in this time up to now, instead of from data: `7d`. Privacy has been applied to
    /// them; columns without any value are left out
    #[arg(long, value_name = "SPAN", value_parser = parse_span,
        conflicts_with_all = ["output", "kind", "time", "window", "season", "segments", "part"])]
    pub(super) from_traffic: Option<Span>,
    /// The model that the data belong to
    #[arg(short, long)]
    pub(super) model: ModelName,
    /// Columns that the model puts out (repeat or separate by commas); all others are inputs
    #[arg(long, value_delimiter = ',')]
    output: Vec<String>,
    /// Columns to leave out, such as ids and the target
    #[arg(long, value_delimiter = ',')]
    pub(super) exclude: Vec<String>,
    /// Kind of a column where the inferred one is wrong: `season=categorical`
    #[arg(long, value_delimiter = ',', value_parser = parse_kind)]
    kind: Vec<(String, FeatureKind)>,
    /// Column with the event time: teaches natural variation, and is left out itself
    #[arg(long)]
    time: Option<String>,
    /// Length of a window, for natural variation; by default the model's in the settings
    #[arg(long, value_parser = parse_span)]
    window: Option<Span>,
    /// Rhythm of the traffic, `none`, `hour_of_day` or `hour_of_week` (UTC): windows are then compared with those of the
    /// same hour; by default the model's in the settings
    #[arg(long, value_parser = parse_season, requires = "time")]
    season: Option<Season>,
    #[command(flatten)]
    segmented: Segmented,
    /// Cells that a numeric column is counted on
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(100..=4096))]
    grid_cells: u16,
    /// Bins that PSI compares
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=100))]
    psi_bins: u16,
    /// Categories with a cell of their own; the others share one
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    top_categories: u16,
    /// Folder to write `<model>/<version>.json` to; by default `baselines_dir` of the settings
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Write these rows as a part to this file, for `merge`, instead of a baseline
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    part: Option<PathBuf>,
    /// Do not learn how numeric and boolean inputs move together (no `pca_error`); parts never do
    #[arg(long)]
    pub(super) no_joint: bool,
    /// Only write the file; do not touch the database
    #[arg(long)]
    pub(super) no_register: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
struct Segmented {
    /// Columns by whose values the rows are also counted, so that a segment is compared with its like; by default those of
    /// the settings. They are watched, too, unless they are left out by `--exclude`
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["part", "no_segments"])]
    segments: Vec<String>,
    /// Values of such a column with a segment of their own, the most frequent ones; by default as in the settings, else 20
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    segment_values: Option<u16>,
    /// Do not count by segment, whatever the settings say
    #[arg(long)]
    no_segments: bool,
}

#[derive(Debug, Args)]
pub(super) struct Merge {
    /// Files that `build --part` wrote
    #[arg(required = true, value_name = "PART")]
    parts: Vec<PathBuf>,
    /// Folder to write `<model>/<version>.json` to; by default `baselines_dir` of the settings
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only write the file; do not touch the database
    #[arg(long)]
    no_register: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn parse_kind(text: &str) -> Result<(String, FeatureKind), String> {
    let (column, kind) = text.split_once('=').ok_or("expected COLUMN=KIND")?;
    let kind = match kind {
        "numeric" => FeatureKind::Numeric,
        "categorical" => FeatureKind::Categorical,
        "boolean" => FeatureKind::Boolean,
        other => return Err(format!("`{other}` is not numeric, categorical or boolean")),
    };
    Ok((column.to_owned(), kind))
}

fn parse_season(text: &str) -> Result<Season, String> {
    let all = [Season::None, Season::HourOfDay, Season::HourOfWeek];
    all.into_iter()
        .find(|season| season.as_str() == text)
        .ok_or_else(|| format!("`{text}` is not none, hour_of_day or hour_of_week"))
}

pub(super) fn parse_span(text: &str) -> Result<Span, String> {
    Span::try_from(text.to_owned())
}

pub(super) async fn run(
    command: Command,
    settings: Settings,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    match command {
        Command::Build(arguments) => build(&arguments, &settings, out).await?,
        Command::Merge(arguments) => merge(&arguments, &settings, out).await?,
        Command::List { model, json } => list(&model, json, &settings, out).await?,
        Command::Show { file, json } => show(&file, json, out)?,
        Command::Diff { from, to, json } => return diff(&from, &to, json, out),
        Command::Activate { model, version } => {
            let database = app::open_database(&settings).await?;
            if store::baseline::get(&database.pool, &model, &version).await?.is_none() {
                bail!(
                    "model `{model}` has no baseline `{version}`; `driftline baseline list -m {model}` lists them"
                );
            }
            store::model::activate_baseline(&database.pool, &model, &version).await?;
            database.close().await?;
            writeln!(out, "{model}: baseline {version} is active")?;
        }
    }
    Ok(ExitStatus::Success)
}

async fn build(arguments: &Build, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let configured = settings.model(&arguments.model);
    let Some(data) = &arguments.data else { return from_traffic(arguments, settings, out).await };
    let mut table = frames::read_table(data, None)?;
    let named = arguments.output.iter().chain(&arguments.exclude).chain(&arguments.time);
    for name in named.chain(&arguments.segmented.segments) {
        table.column(name)?;
    }
    for (name, _) in &arguments.kind {
        table.column(name)?;
    }
    let window = arguments
        .window
        .or(configured.map(|model| model.window))
        .unwrap_or(Span(std::time::Duration::from_hours(1)));
    let block_of_row: Option<Vec<i64>> = match &arguments.time {
        Some(name) => Some(table.times(name)?.into_iter().map(|time| window_index(time, window.0)).collect()),
        None => None,
    };
    // Reference data are treated like traffic, or the two would have nothing in common.
    let policies = tasks::load_privacy(settings)?;
    let policy = policies.of(&arguments.model);
    policy.apply_to_columns(&mut table.columns);
    let kind_of = |name: &str| {
        let flag = arguments.kind.iter().find(|(column, _)| column == name).map(|(_, kind)| *kind);
        let hashed = policy.hashes(name).then_some(FeatureKind::Categorical);
        hashed.or(flag).or_else(|| configured?.kinds.get(name).copied())
    };
    let named = |names: &[String], name: &str| names.iter().any(|other| other == name);
    let watched = |name: &str| !named(&arguments.exclude, name) && arguments.time.as_deref() != Some(name);
    let columns: Vec<SourceColumn<'_>> = [Role::Feature, Role::Output]
        .into_iter()
        .flat_map(|role| {
            table
                .columns
                .iter()
                .filter(move |column| {
                    (role == Role::Output) == named(&arguments.output, &column.name) && watched(&column.name)
                })
                .map(move |column| SourceColumn {
                    name: &column.name,
                    role,
                    kind: kind_of(&column.name),
                    values: &column.values,
                })
        })
        .collect();
    let source = data.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let season = arguments.season.or(configured.map(|model| model.season)).unwrap_or_default();
    let cycle = Cycle::new(season, window.0);
    if cycle.is_none() && season != Season::None && arguments.time.is_some() {
        bail!("`--season {}` needs windows that divide its period; the window is {window}", season.as_str());
    }
    let blocks = block_of_row.as_deref().map(|of_row| Blocks { of_row, cycle });
    let options = BuildOptions {
        model: arguments.model.clone(),
        source,
        cut: arguments.cut(),
        joint: !arguments.no_joint,
    };
    let context = || format!("`{}`", data.display());
    if let Some(path) = &arguments.part {
        let part = baseline::build_part(&columns, blocks, options).with_context(context)?;
        write_whole(path, &part.to_json()?)?;
        if arguments.json {
            writeln!(out, "{}", json!({ "model": part.model(), "rows": part.rows(), "path": path }))?;
        } else {
            writeln!(out, "part of {} rows: {}", part.rows(), path.display())?;
            writeln!(out, "when all parts are there: `driftline baseline merge {} ...`", path.display())?;
            if configured.is_some_and(|model| !model.segments.is_empty()) {
                writeln!(out, "a part counts no segments: they are going to be compared with all rows")?;
            }
        }
        return Ok(());
    }
    let by = segment_columns(arguments, configured, &table, kind_of)?;
    let values = arguments.segmented.segment_values.map(usize::from);
    let values = values.or(configured.map(|model| model.segment_values)).unwrap_or(DEFAULT_SEGMENT_VALUES);
    let segments = SegmentSources { by: &by, values };
    let built = baseline::build_segmented(&columns, blocks, segments, options).with_context(context)?;
    let folder = arguments.out.as_ref().unwrap_or(&settings.baselines_dir);
    finish(&built, folder, arguments.no_register, arguments.json, settings, out).await?;
    if arguments.time.is_none() && !arguments.json {
        writeln!(out, "natural variation is unknown: name the event time with `--time COLUMN`")?;
    }
    Ok(())
}

impl Build {
    pub(super) fn cut(&self) -> CutOptions {
        CutOptions {
            grid_cells: self.grid_cells.into(),
            psi_bins: self.psi_bins.into(),
            top_categories: self.top_categories.into(),
            ..CutOptions::default()
        }
    }
}

/// The columns to segment by: those of the arguments, else those of the settings.
fn segment_columns<'t>(
    arguments: &Build,
    configured: Option<&ModelSettings>,
    table: &'t Table,
    kind_of: impl Fn(&str) -> Option<FeatureKind>,
) -> anyhow::Result<Vec<SourceColumn<'t>>> {
    let of_settings = configured.map_or(&[][..], |model| &model.segments);
    let names = match (arguments.segmented.no_segments, arguments.segmented.segments.is_empty()) {
        (true, _) => &[][..],
        (false, true) => of_settings,
        (false, false) => &arguments.segmented.segments,
    };
    if names.len() > MAX_SEGMENT_COLUMNS {
        bail!("`--segments` has {} columns, the most are {MAX_SEGMENT_COLUMNS}", names.len());
    }
    let find = |name: &String| {
        let column = table.columns.iter().find(|column| column.name == *name).with_context(|| {
            let (data, model) = (table.path.display(), &arguments.model);
            let near = hint(name, table.columns.iter().map(|column| column.name.as_str()));
            format!(
                "`{data}` has no column `{name}` to segment model `{model}` by, or `privacy` drops it{near}; \
                 `--no-segments` builds without"
            )
        })?;
        let (role, kind) = (Role::Feature, kind_of(name));
        Ok(SourceColumn { name: &column.name, role, kind, values: &column.values })
    };
    names.iter().map(find).collect()
}

async fn merge(arguments: &Merge, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let mut parts = Vec::with_capacity(arguments.parts.len());
    for path in &arguments.parts {
        let context = || format!("`{}`", path.display());
        let text = std::fs::read_to_string(path).with_context(context)?;
        parts.push(Part::from_json(&text).with_context(context)?);
    }
    let built = baseline::merge(&parts).map_err(|error| match error {
        PartError::Differs { part, problem } => {
            let (first, path) = (arguments.parts[0].display(), arguments.parts[part - 1].display());
            anyhow::anyhow!("`{path}` does not go with `{first}`: {problem}")
        }
        error => error.into(),
    })?;
    let folder = arguments.out.as_ref().unwrap_or(&settings.baselines_dir);
    finish(&built, folder, arguments.no_register, arguments.json, settings, out).await
}

/// Writes, registers and prints a baseline.
pub(super) async fn finish(
    built: &Baseline,
    folder: &Path,
    no_register: bool,
    json: bool,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let path = write_baseline(built, folder)?;
    if !no_register {
        let database = app::open_database(settings).await?;
        app::register_baseline(&database.pool, built).await?;
        database.close().await?;
    }
    if json {
        let document = json!({
            "model": built.model(), "version": built.version(), "rows": built.rows(), "path": path,
            "registered": !no_register,
            "columns": built.columns().iter().map(|c| json!({
                "name": c.layout.name, "role": c.layout.role, "kind": c.layout.kind,
                "natural_variation": c.psi_variation.is_some() })).collect::<Vec<_>>(),
            "segments": built.segmented_by().iter().map(|by| json!({
                "column": by.column(), "rows": rows_by_segment(by) })).collect::<Vec<_>>(),
        });
        writeln!(out, "{document}")?;
    } else {
        print_columns(built, out)?;
        writeln!(out, "\nbaseline {} of {} rows: {}", built.version(), built.rows(), path.display())?;
    }
    Ok(())
}

/// Writes `baseline` to `<folder>/<model>/<version>.json` in one step, so that no half file can be read.
fn write_baseline(baseline: &Baseline, folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.join(baseline.model().as_str());
    let context = || format!("failed to write to `{}`", folder.display());
    std::fs::create_dir_all(&folder).with_context(context)?;
    let path = folder.join(format!("{}.json", baseline.version()));
    write_whole(&path, &baseline.to_json()?)?;
    Ok(path)
}

/// Writes a file in one step.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("failed to write `{}`", path.display());
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text).with_context(context)?;
    std::fs::rename(&partial, path).with_context(context)
}

fn read_baseline(path: &Path) -> anyhow::Result<Baseline> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    Baseline::from_json(&text).with_context(|| format!("`{}`", path.display()))
}

async fn list(
    model: &ModelName,
    json: bool,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let database = app::open_database(settings).await?;
    let baselines = store::baseline::list(&database.pool, model).await?;
    let note = super::capture::without_baseline(&database.pool, model).await;
    database.close().await?;
    let note = note?;
    if json {
        let rows: Vec<_> = baselines
            .iter()
            .map(|b| json!({ "version": b.version, "rows": b.rows, "source": b.source, "created_at": b.created_at, "active": b.active }))
            .collect();
        writeln!(out, "{}", json!({ "model": model, "baselines": rows }))?;
        return Ok(());
    }
    let mut table = TextTable::new();
    table.load_style(presets::NOTHING).set_header(["version", "rows", "source", "registered", "active"]);
    for b in baselines {
        let active = if b.active { "yes" } else { "" };
        table.add_row([
            b.version,
            b.rows.to_string(),
            b.source,
            b.created_at.format("%F %T").to_string(),
            active.to_owned(),
        ]);
    }
    writeln!(out, "{table}")?;
    if let Some(note) = note {
        writeln!(out, "{note}")?;
    }
    Ok(())
}

fn show(file: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let baseline = read_baseline(file)?;
    if json {
        writeln!(out, "{}", baseline.to_json()?)?;
        return Ok(());
    }
    writeln!(
        out,
        "model {}, version {}, {} rows from {}\n",
        baseline.model(),
        baseline.version(),
        baseline.rows(),
        baseline.source()
    )?;
    print_columns(&baseline, out)
}

fn print_columns(baseline: &Baseline, out: &mut impl Write) -> anyhow::Result<()> {
    let mut table = TextTable::new();
    table.load_style(presets::NOTHING).set_header([
        "column",
        "role",
        "kind",
        "cells",
        "missing",
        "mean",
        "range or top",
        "blocks",
    ]);
    for column in baseline.columns() {
        let moments = &column.profile.moments;
        let (mean, range) = match &column.layout.cut {
            Cut::Grid(_) => {
                let range = column
                    .layout
                    .range
                    .map(|(min, max)| format!("{} .. {}", format_number(min), format_number(max)));
                (format_number(moments.mean()), range.unwrap_or_default())
            }
            Cut::Categories(categories) => (
                String::new(),
                (0..categories.cells().min(5))
                    .map(|cell| categories.label(cell))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
        };
        let blocks = column
            .psi_variation
            .map_or_else(|| "unknown".to_owned(), |v| format!("{:.1}", v.effective_blocks));
        table.add_row([
            column.layout.name.clone(),
            column.layout.role.as_str().to_owned(),
            column.layout.kind.as_str().to_owned(),
            column.layout.cut.cells().to_string(),
            column.profile.unusable().to_string(),
            mean,
            range,
            blocks,
        ]);
    }
    for index in [3, 4, 5, 7] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{table}")?;
    for by in baseline.segmented_by() {
        let rows = rows_by_segment(by);
        let shown: Vec<String> = rows.iter().map(|(segment, rows)| format!("{segment} ({rows})")).collect();
        writeln!(out, "segments by {}: {}", by.column(), shown.join(", "))?;
    }
    Ok(())
}

/// The reference rows of each segment that has some, by key.
fn rows_by_segment(by: &SegmentedBy) -> BTreeMap<String, u64> {
    let places = by.places();
    let rows = places.keys().iter().zip(by.segments()).filter(|(_, segment)| segment.rows > 0);
    rows.map(|(key, segment)| (key.to_string(), segment.rows)).collect()
}

/// Compares two baselines; only possible where both were cut the same way.
fn diff(from: &Path, to: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    let compared = BaselineDiff::new(&read_baseline(from)?, &read_baseline(to)?)?;
    let BaselineDiff { from, to, removed, added, features } = &compared;
    if json {
        writeln!(out, "{}", json!(compared))?;
    } else {
        writeln!(out, "{from} -> {to}")?;
        let mut table = TextTable::new();
        table.load_style(presets::NOTHING).set_header(["column", "psi", "ks", "mean shift", "rows"]);
        for feature in features.iter().filter(|feature| !removed.contains(&feature.name)) {
            let number =
                |name: &str| feature.statistics.get(name).map(|v| format!("{v:.4}")).unwrap_or_default();
            table.add_row([
                feature.name.clone(),
                number("psi"),
                number("ks"),
                number("mean_shift"),
                format!("{} -> {}", feature.n_reference, feature.n_current),
            ]);
        }
        writeln!(out, "{table}")?;
        for (word, names) in [("removed", removed), ("added", added)] {
            if !names.is_empty() {
                writeln!(out, "{word}: {}", names.join(", "))?;
            }
        }
    }
    Ok(if compared.differs() { ExitStatus::Failure } else { ExitStatus::Success })
}
