//! From two sources to a drift report: the reference is cut and counted, the current data counted on its cells.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, anyhow, bail};

use super::Arguments;
use super::columns::{Compared, Plan};
use super::exact;
use super::progress::Progress;
use super::report::{Comparison, Side};
use super::sinks::{
    BlockRuns, Counts, Distribution, EXACT_VALUES, Taker, Tally, record_runs, record_unusual,
};
use super::sort::leave_runs;
use crate::baseline::{Baseline, BaselineColumn, CutOptions, boolean_cut, numeric_cut};
use crate::drift::{self, Losses};
use crate::frames::{Pace, Reading, Source, Told, Want, in_parallel};
use crate::model::{ModelName, Role, Value};
use crate::profile::{ColumnLayout, ColumnProfile, Cut, Profile};
use crate::window::Window;

/// Bytes that all columns of a file read row by row may keep together.
const KEPT_BYTES: usize = 192 << 20;

/// Bytes that the counts of a column's blocks of time may take.
const BLOCK_BYTES: usize = 256 << 20;

/// What each column had to leave out.
type Tallies = Vec<(String, Tally)>;

/// A column of the reference, cut and counted.
struct Built {
    column: BaselineColumn,
    tally: Tally,
}

pub(super) fn compare(
    arguments: &Arguments,
    reference: &Source,
    current: &Source,
    plan: &Plan,
    progress: &Progress,
) -> anyhow::Result<Comparison> {
    let advance = |work| progress.advance(work);
    let engine = Engine { pace: Pace { threads: arguments.threads(), progress: &advance }, progress };
    let (built, told, blocks) = engine.reference(arguments, reference, plan)?;
    let (columns, tallies): (Vec<BaselineColumn>, Vec<(String, Tally)>) = built
        .into_iter()
        .map(|built| {
            let name = built.column.layout.name.clone();
            (built.column, (name, built.tally))
        })
        .unzip();
    let rows = told.rows;
    let baseline = Baseline::assemble(
        ModelName::parse("compare")?,
        reference.label().to_owned(),
        rows,
        CutOptions::default(),
        columns,
    )?;
    let (profiles, current_tallies, current_told) = engine.current(current, &baseline)?;
    let profile = Profile::from_columns(current_told.rows, profiles);
    let window = Window { start: chrono::DateTime::UNIX_EPOCH, end: chrono::DateTime::UNIX_EPOCH };
    let mut report = drift::evaluate(&baseline, &profile, Losses::default(), window, &arguments.criteria())?;
    if arguments.exact {
        exact::apply(&mut report, &baseline, (reference, current), engine.pace, progress)?;
    }
    let mut comparison = Comparison::new(
        Side { path: reference.label().to_owned(), rows },
        Side { path: current.label().to_owned(), rows: current_told.rows },
        report,
        &baseline,
        &profile,
        plan,
    );
    comparison.exact = arguments.exact;
    comparison.blocks = blocks.map(|blocks| blocks.blocks());
    for (side, tallies, told) in
        [("reference", tallies, told), ("current data", current_tallies, current_told)]
    {
        comparison.note_tallies(side, &tallies);
        comparison.note_unknown(side, &told.unknown);
    }
    Ok(comparison)
}

struct Engine<'a> {
    pace: Pace<'a>,
    progress: &'a Progress,
}

impl Engine<'_> {
    /// Cuts and counts the reference, column by column where its format allows.
    fn reference(
        &self,
        arguments: &Arguments,
        source: &Source,
        plan: &Plan,
    ) -> anyhow::Result<(Vec<Built>, Told, Option<Arc<BlockRuns>>)> {
        // The layout of a baseline has the inputs first.
        let mut columns: Vec<&Compared> = plan.columns.iter().collect();
        columns.sort_by_key(|column| column.role == Role::Output);
        let looks = if arguments.time.is_some() { 2 } else { 1 };
        self.progress.begin("reading the reference", source.work(columns.len()) * looks);
        if !source.is_columnar() {
            return self.reference_by_row(arguments, source, &columns);
        }
        let blocks = match &arguments.time {
            Some(name) => Some(Arc::new(self.blocks(source, name, arguments.window.0)?)),
            None => None,
        };
        let built: Mutex<Vec<Option<Built>>> = Mutex::new(columns.iter().map(|_| None).collect());
        let told = Mutex::new(Told::default());
        let alone = Pace { threads: 1, ..self.pace };
        in_parallel(self.pace.threads, columns.iter().enumerate(), |(index, column)| {
            let taker = Taker::learn(column.kind, EXACT_VALUES, source.rows());
            let mut reading = [Reading { name: &column.name, want: Want::Kind(column.kind), sink: taker }];
            let rows = source.read(&mut reading, alone)?;
            let [reading] = reading;
            let column = finish_column(source, column, reading.sink, blocks.as_ref(), alone)?;
            if let (Ok(mut built), Ok(mut told)) = (built.lock(), told.lock()) {
                built[index] = Some(column);
                *told = rows;
            }
            anyhow::Ok(())
        })?;
        let built = built.into_inner().map_err(|_| anyhow!("a thread was lost"))?;
        let built: Option<Vec<Built>> = built.into_iter().collect();
        let told = told.into_inner().map_err(|_| anyhow!("a thread was lost"))?;
        Ok((built.context("a column was lost")?, told, blocks))
    }

    fn blocks(&self, source: &Source, name: &str, window: std::time::Duration) -> anyhow::Result<BlockRuns> {
        let sink = Taker::Blocks { runs: BlockRuns::default(), window };
        let mut reading = [Reading { name, want: Want::Time, sink }];
        source.read(&mut reading, Pace { progress: &|_| (), ..self.pace })?;
        let [reading] = reading;
        match reading.sink {
            Taker::Blocks { runs, .. } => Ok(runs),
            _ => bail!("the times were lost"),
        }
    }

    /// All columns in one pass; a second one only for what the first did not keep.
    fn reference_by_row(
        &self,
        arguments: &Arguments,
        source: &Source,
        columns: &[&Compared],
    ) -> anyhow::Result<(Vec<Built>, Told, Option<Arc<BlockRuns>>)> {
        let kept = KEPT_BYTES / (columns.len().max(1) * size_of::<(f64, u64)>() * 2);
        let mut readings: Vec<Reading<'_, Taker>> = columns
            .iter()
            .map(|column| Reading {
                name: &column.name,
                want: Want::Kind(column.kind),
                sink: Taker::learn(column.kind, kept.min(EXACT_VALUES), None),
            })
            .collect();
        if let Some(name) = &arguments.time {
            let sink = Taker::Blocks { runs: BlockRuns::default(), window: arguments.window.0 };
            readings.push(Reading { name, want: Want::Time, sink });
        }
        let told = source.read(&mut readings, self.pace)?;
        let blocks =
            match arguments.time.is_some().then(|| readings.pop()).flatten().map(|reading| reading.sink) {
                Some(Taker::Blocks { runs, .. }) => Some(Arc::new(runs)),
                _ => None,
            };
        // What is not known yet is counted in one more pass, over all such columns together.
        let mut built: Vec<Option<Built>> = Vec::with_capacity(columns.len());
        let mut again: Vec<(usize, Cutting)> = Vec::new();
        for (index, (column, reading)) in columns.iter().zip(readings).enumerate() {
            let cutting = cut(column, reading.sink)?;
            if let Some(profile) = cutting.counted.clone().filter(|_| blocks.is_none()) {
                built.push(Some(cutting.learn(profile, &BTreeMap::new())));
            } else {
                built.push(None);
                again.push((index, cutting));
            }
        }
        if !again.is_empty() {
            let mut readings = Vec::with_capacity(again.len());
            for (index, cutting) in &again {
                check_blocks(&cutting.layout, blocks.as_deref(), again.len())?;
                readings.push(Reading {
                    name: &columns[*index].name,
                    want: Want::Kind(columns[*index].kind),
                    sink: Taker::count(Counts::new(Arc::clone(&cutting.layout), blocks.clone())),
                });
            }
            if blocks.is_none() {
                self.progress.begin("counting the reference", source.work(again.len()));
            }
            source.read(&mut readings, self.pace)?;
            let sinks: Vec<Taker> = readings.into_iter().map(|reading| reading.sink).collect();
            for ((index, cutting), sink) in again.into_iter().zip(sinks) {
                built[index] = Some(cutting.counted_by(sink)?);
            }
        }
        let built: Option<Vec<Built>> = built.into_iter().collect();
        Ok((built.context("a column was lost")?, told, blocks))
    }

    /// Counts the current data on the cells of the reference.
    fn current(
        &self,
        source: &Source,
        baseline: &Baseline,
    ) -> anyhow::Result<(Vec<ColumnProfile>, Tallies, Told)> {
        self.progress.begin("reading the current data", source.work(baseline.columns().len()));
        let mut readings: Vec<Reading<'_, Taker>> = baseline
            .columns()
            .iter()
            .map(|column| Reading {
                name: &column.layout.name,
                want: Want::Kind(column.layout.kind),
                sink: Taker::count(Counts::new(Arc::new(column.layout.clone()), None)),
            })
            .collect();
        let told = source.read(&mut readings, self.pace)?;
        let mut profiles = Vec::with_capacity(readings.len());
        let mut tallies = Vec::with_capacity(readings.len());
        for reading in readings {
            let Taker::Count { counts, tally } = reading.sink else { bail!("the counts were lost") };
            profiles.push(counts.finish().0);
            tallies.push((reading.name.to_owned(), tally));
        }
        Ok((profiles, tallies, told))
    }
}

/// Cuts a column whose distribution is known, and counts it.
fn finish_column(
    source: &Source,
    column: &Compared,
    learned: Taker,
    blocks: Option<&Arc<BlockRuns>>,
    pace: Pace<'_>,
) -> anyhow::Result<Built> {
    let cutting = cut(column, learned)?;
    if let Some(profile) = cutting.counted.clone().filter(|_| blocks.is_none()) {
        return Ok(cutting.learn(profile, &BTreeMap::new()));
    }
    check_blocks(&cutting.layout, blocks.map(Arc::as_ref), 1)?;
    let counts = Counts::new(Arc::clone(&cutting.layout), blocks.cloned());
    let mut reading =
        [Reading { name: &column.name, want: Want::Kind(column.kind), sink: Taker::count(counts) }];
    source.read(&mut reading, pace)?;
    let [reading] = reading;
    cutting.counted_by(reading.sink)
}

/// A column of the reference that is cut, and counted where its summary kept everything.
struct Cutting {
    layout: Arc<ColumnLayout>,
    counted: Option<ColumnProfile>,
    tally: Tally,
}

impl Cutting {
    fn learn(self, profile: ColumnProfile, blocks: &BTreeMap<i64, ColumnProfile>) -> Built {
        let layout = Arc::unwrap_or_clone(self.layout);
        let column = BaselineColumn::learn(layout, profile, blocks, 0.0, &CutOptions::default());
        Built { column, tally: self.tally }
    }

    fn counted_by(self, sink: Taker) -> anyhow::Result<Built> {
        let Taker::Count { counts, .. } = sink else { bail!("the counts were lost") };
        let (whole, by_block) = counts.finish();
        Ok(self.learn(whole, &by_block))
    }
}

/// Cuts a column by its distribution.
fn cut(column: &Compared, learned: Taker) -> anyhow::Result<Cutting> {
    let Taker::Learn { distribution, tally } = learned else { bail!("the distribution was lost") };
    let options = CutOptions::default();
    let layout = |cut: Cut, range: Option<(f64, f64)>| {
        let (name, role, kind) = (column.name.clone(), column.role, column.kind);
        Arc::new(ColumnLayout { name, role, kind, cut, range })
    };
    Ok(match distribution {
        Distribution::Numbers(numbers) => {
            let unusual = numbers.unusual;
            let runs = numbers.finish();
            let (cut, range) = numeric_cut(&runs, &options);
            let layout = layout(cut, range);
            let counted = (runs.rank_error == 0.0).then(|| {
                let mut profile = ColumnProfile::empty(&layout);
                record_runs(&mut profile, &layout, &runs.values);
                record_unusual(&mut profile, &layout, unusual, &tally);
                profile
            });
            leave_runs(runs.values);
            Cutting { layout, counted, tally }
        }
        Distribution::Names(summary) => {
            let sketch = summary.is_sketch();
            // Only names beside those with a cell of their own have to be told apart once more.
            let all: Option<Vec<(String, u64)>> =
                (!sketch).then(|| summary.counts().map(|(name, count)| (name.to_owned(), count)).collect());
            let (categories, _) = summary.finish(options.top_categories);
            let layout = layout(Cut::Categories(categories), None);
            let counted = all.map(|mut all| {
                // In order, so that the same data always give the same profile.
                all.sort_unstable();
                let mut profile = ColumnProfile::empty(&layout);
                for (name, count) in all {
                    profile.record_many(&layout, &Value::Text(name), count);
                }
                record_unusual(&mut profile, &layout, [0; 3], &tally);
                profile
            });
            Cutting { layout, counted, tally }
        }
        Distribution::Truths([no, yes]) => {
            let layout = layout(boolean_cut(), None);
            let mut profile = ColumnProfile::empty(&layout);
            for (truth, count) in [(false, no), (true, yes)] {
                if count > 0 {
                    profile.record_many(&layout, &Value::Bool(truth), count);
                }
            }
            record_unusual(&mut profile, &layout, [0; 3], &tally);
            Cutting { layout, counted: Some(profile), tally }
        }
    })
}

/// Refuses more blocks of time than can be kept apart.
fn check_blocks(layout: &ColumnLayout, blocks: Option<&BlockRuns>, columns: usize) -> anyhow::Result<()> {
    let blocks = blocks.map_or(0, BlockRuns::blocks);
    let bytes = blocks * columns * (layout.cut.cells() * size_of::<u64>() + size_of::<ColumnProfile>());
    if bytes > BLOCK_BYTES {
        bail!(
            "{blocks} blocks of time are more than can be kept apart for {columns} columns at once; take a longer `--window`, or Parquet, which is read a column at a time"
        );
    }
    Ok(())
}
