//! The newest rows of files that are larger than memory: read twice, of which only what is kept stays.

use std::sync::Arc;

use super::{Chunk, FrameError, Holds, Pace, Reading, Sink, Source, State, Table, Values, Want};
use crate::model::{Column, FeatureKind, Value};

/// Reads the newest `most` rows that have a `target`, in the order of the files, of columns `columns` (all of them if
/// none are named). Beside these rows, nine bytes a row are in memory.
///
/// # Arguments
///
/// * `pattern`: a file, or a pattern like `data/*.parquet`.
/// * `time`, `target`: columns; every row has to have a time.
///
/// # Errors
///
/// [`FrameError`] names the file and what is wrong with it.
pub fn read_newest(
    pattern: &str,
    columns: Option<&[&str]>,
    (time, target): (&str, &str),
    most: usize,
) -> Result<Table, FrameError> {
    let source = Source::open(pattern)?;
    let pace = Pace { threads: 1, progress: &|_| () };
    let as_what = |name: &str| -> Result<Want, FrameError> {
        Ok(Want::Kind(source.column(name)?.holds.kind().unwrap_or(FeatureKind::Numeric)))
    };
    let mut first = [
        Reading { name: time, want: Want::Time, sink: Pass::Times(Vec::new()) },
        Reading { name: target, want: as_what(target)?, sink: Pass::Known(Vec::new()) },
    ];
    source.column(time)?;
    source.read(&mut first, pace)?;
    let [Reading { sink: Pass::Times(times), .. }, Reading { sink: Pass::Known(known), .. }] = first else {
        return Err(FrameError::Empty(pattern.into()));
    };
    let kept = Arc::new(newest(&times, &known, most));
    drop((times, known));
    let rows = kept.iter().filter(|kept| **kept).count();
    let wanted: Vec<&str> = match columns {
        Some(columns) => columns.to_vec(),
        None => source.columns().iter().map(|column| column.name.as_str()).collect(),
    };
    let mut second = Vec::with_capacity(wanted.len());
    for name in wanted {
        let want = match source.column(name)?.holds {
            // Nothing but a mark would come of them.
            Holds::NotScalar(_) => Want::Kind(FeatureKind::Categorical),
            _ => as_what(name)?,
        };
        let sink = Pass::Kept { kept: Arc::clone(&kept), row: 0, values: Vec::with_capacity(rows) };
        second.push(Reading { name, want, sink });
    }
    source.read(&mut second, pace)?;
    let columns = second
        .into_iter()
        .map(|Reading { name, sink, .. }| {
            let values = if let Pass::Kept { values, .. } = sink { values } else { Vec::new() };
            Column { name: name.into(), values }
        })
        .collect();
    Ok(Table { path: pattern.into(), rows, columns })
}

/// What is kept of a column.
enum Pass {
    /// All times, in milliseconds since 1970.
    Times(Vec<i64>),
    /// Whether each row has a value.
    Known(Vec<bool>),
    /// The values of the rows that are kept.
    Kept { kept: Arc<Vec<bool>>, row: usize, values: Vec<Value> },
}

impl Sink for Pass {
    fn take(&mut self, chunk: &Chunk) -> Result<(), FrameError> {
        let state = |row: usize| chunk.states.as_ref().map_or(State::Value, |states| states[row]);
        match self {
            Self::Times(times) => {
                if let Values::Times(more) = &chunk.values {
                    times.extend(more);
                }
            }
            Self::Known(known) => known.extend((0..chunk.rows()).map(|row| state(row) != State::Missing)),
            Self::Kept { kept, row: before, values } => {
                for row in 0..chunk.rows() {
                    if kept.get(*before + row) == Some(&true) {
                        values.push(match (state(row), &chunk.values) {
                            (State::Missing, _) => Value::Missing,
                            (State::WrongType, _) => Value::Opaque,
                            (State::Value, Values::Numbers(numbers)) => Value::Number(numbers[row]),
                            (State::Value, Values::Texts(texts)) => Value::Text(texts.get(row).to_owned()),
                            (State::Value, Values::Truths(truths)) => Value::Bool(truths[row]),
                            (State::Value, Values::Times(times)) => Value::Number(times[row] as f64 / 1e3),
                        });
                    }
                }
                *before += chunk.rows();
            }
        }
        Ok(())
    }
}

/// Which rows are the `most` newest of those that are known; of rows with the time of the oldest of them, the last.
fn newest(times: &[i64], known: &[bool], most: usize) -> Vec<bool> {
    let mut sorted: Vec<i64> =
        times.iter().zip(known).filter(|(_, known)| **known).map(|(time, _)| *time).collect();
    let surplus = sorted.len().saturating_sub(most);
    if surplus == 0 {
        return known.to_vec();
    }
    if most == 0 {
        return vec![false; times.len()];
    }
    let (_, oldest, _) = sorted.select_nth_unstable(surplus);
    let oldest = *oldest;
    let later = times.iter().zip(known).filter(|(time, known)| **known && **time > oldest).count();
    let mut left = most - later;
    let mut kept = vec![false; times.len()];
    for row in (0..times.len()).rev() {
        let is_tied = times[row] == oldest && left > 0;
        if known[row] && (times[row] > oldest || is_tied) {
            kept[row] = true;
            left -= usize::from(times[row] == oldest);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_newest_known_rows_are_kept() {
        let known = [true, true, false, true, true];
        let check = |most: usize, expected: [u8; 5]| {
            let kept: Vec<u8> = newest(&[5, 1, 9, 5, 7], &known, most).into_iter().map(u8::from).collect();
            assert_eq!(kept, expected, "{most}");
        };
        check(0, [0, 0, 0, 0, 0]);
        check(1, [0, 0, 0, 0, 1]);
        check(2, [0, 0, 0, 1, 1]);
        check(3, [1, 0, 0, 1, 1]);
        check(4, [1, 1, 0, 1, 1]);
        check(9, [1, 1, 0, 1, 1]);
    }

    #[test]
    fn files_of_rows_and_of_columns_give_the_same_rows_as_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "t,x,c,y\n".to_owned();
        for row in 0..30_000_u32 {
            let name = if row % 7 == 0 { "" } else { "name" };
            let target = if row % 10 == 0 { String::new() } else { (row % 3).to_string() };
            let time = 1_000_000 + row * 7_919 % 30_000;
            writeln!(text, "{time},{row}.5,{name},{target}").unwrap();
        }
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, text).unwrap();
        let whole = super::super::read_table(&path, None).unwrap();
        let pattern = path.to_string_lossy();
        let newest = read_newest(&pattern, Some(&["y", "c", "x"]), ("t", "y"), 1_000).unwrap();
        assert_eq!((newest.rows, newest.columns.len()), (1_000, 3));
        let mut rows: Vec<usize> = (0..30_000).filter(|row| row % 10 != 0).collect();
        rows.sort_by_key(|row| row * 7_919 % 30_000);
        let mut expected = rows.split_off(rows.len() - 1_000);
        expected.sort_unstable();
        for column in &newest.columns {
            let all = &whole.column(&column.name).unwrap().values;
            let wanted: Vec<Value> = expected.iter().map(|&row| all[row].clone()).collect();
            assert_eq!(column.values, wanted, "{}", column.name);
        }
        let problem = read_newest(&pattern, None, ("t", "z"), 10).unwrap_err().to_string();
        assert!(problem.contains("has no column `z`"), "{problem}");
    }
}
