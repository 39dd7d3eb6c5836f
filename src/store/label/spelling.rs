//! Every way in which an id of a label can name a row.

use serde::{Deserialize, Serialize};

/// One reading of an id: that of an exchange, with the row where the exchange has several.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spelling(pub String, pub Option<u32>);

impl Spelling {
    /// The id of the captured row that it stands for, if `self.0` is the id that rows are named after.
    pub fn row_id(&self) -> String {
        match self.1 {
            None => self.0.clone(),
            Some(row) => format!("{}_{row}", self.0),
        }
    }
}

/// What ends the id of an exchange and begins the number of a row.
const MARKS: [&str; 3] = ["-item-", ":", "_"];

/// Every reading of `id`, the likeliest first: as it stands, as `{id}_{row}`, `{id}-item-{row}` or `{id}:{row}`, and each of
/// them with a number of 64 bits written the other way, in hexadecimal or decimal.
pub fn spellings(id: &str, row: Option<usize>) -> Vec<Spelling> {
    let mut readings = Vec::new();
    if let Some(row) = row {
        readings.extend(numbered(id, row));
    } else {
        readings.push(Spelling(id.to_owned(), None));
        if let Some((exchange, row)) = MARKS.iter().find_map(|mark| split(id, mark)) {
            readings.extend(numbered(exchange, row));
        }
    }
    let other: Vec<Spelling> = readings
        .iter()
        .flat_map(|Spelling(id, row)| other_bases(id).into_iter().map(|id| Spelling(id, *row)))
        .collect();
    readings.extend(other);
    let mut seen = Vec::with_capacity(readings.len());
    for reading in readings {
        if !seen.contains(&reading) {
            seen.push(reading);
        }
    }
    seen
}

/// Row `row` of `id`; the first one is also the only row of an exchange of one.
fn numbered(id: &str, row: usize) -> Vec<Spelling> {
    let Ok(row) = u32::try_from(row) else { return Vec::new() };
    let mut readings = vec![Spelling(id.to_owned(), Some(row))];
    if row == 0 {
        readings.push(Spelling(id.to_owned(), None));
    }
    readings
}

fn split<'i>(id: &'i str, mark: &str) -> Option<(&'i str, usize)> {
    let (exchange, row) = id.rsplit_once(mark)?;
    let written = !row.is_empty() && row.bytes().all(|byte| byte.is_ascii_digit());
    let plain = written && (row == "0" || !row.starts_with('0'));
    if exchange.is_empty() || !plain { None } else { Some((exchange, row.parse().ok()?)) }
}

/// The same number in the other base: `BentoML` answers with an id in hexadecimal, with and without leading zeros, and logs it in
/// decimal.
fn other_bases(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    let digits = id.bytes().all(|byte| byte.is_ascii_digit());
    if digits
        && let Ok(number) = id.parse::<u64>()
        && number.to_string() == id
    {
        found.push(format!("{number:x}"));
        found.push(format!("{number:016x}"));
    }
    let hexadecimal = (8..=16).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal && let Ok(number) = u64::from_str_radix(id, 16) {
        found.push(number.to_string());
    }
    found.retain(|other| other != id);
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn readings(id: &str, row: Option<usize>) -> Vec<(String, Option<u32>)> {
        spellings(id, row).into_iter().map(|Spelling(id, row)| (id, row)).collect()
    }

    #[test]
    fn an_id_is_read_in_every_way() {
        let plain = |id: &str| (id.to_owned(), None);
        let row = |id: &str, row| (id.to_owned(), Some(row));
        for (id, given, expected) in [
            ("p", None, vec![plain("p")]),
            ("p", Some(2), vec![row("p", 2)]),
            ("p", Some(0), vec![row("p", 0), plain("p")]),
            ("p_2", None, vec![plain("p_2"), row("p", 2)]),
            ("p-item-2", None, vec![plain("p-item-2"), row("p", 2)]),
            ("p:0", None, vec![plain("p:0"), row("p", 0), plain("p")]),
            ("a_1_2", None, vec![plain("a_1_2"), row("a_1", 2)]),
            ("p_02", None, vec![plain("p_02")]),
            ("p_", None, vec![plain("p_")]),
            ("_2", None, vec![plain("_2")]),
            ("p_99999999999999999999", None, vec![plain("p_99999999999999999999")]),
            ("a9317726571eb35b", None, vec![plain("a9317726571eb35b"), plain("12191656672822735707")]),
            (
                "12191656672822735707_1",
                None,
                vec![
                    plain("12191656672822735707_1"),
                    row("12191656672822735707", 1),
                    row("a9317726571eb35b", 1),
                ],
            ),
            ("255", None, vec![plain("255"), plain("ff"), plain("00000000000000ff")]),
        ] {
            assert_eq!(readings(id, given), expected, "{id} {given:?}");
        }
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_row_names_it(
            id in "[a-zA-Z0-9._:-]{1,20}",
            row in 0..100_000_usize,
            mark in prop_oneof![Just("_"), Just("-item-"), Just(":")],
        ) {
            let expected = Spelling(id.clone(), u32::try_from(row).ok());
            let written = format!("{id}{mark}{row}");
            prop_assert!(spellings(&written, None).contains(&expected));
            prop_assert_eq!(&spellings(&id, Some(row))[0], &expected);
            prop_assert_eq!(expected.row_id(), format!("{id}_{row}"));
        }

        #[test]
        fn both_bases_find_one_another(number in any::<u64>(), row in proptest::option::of(0..50_usize)) {
            let (decimal, hexadecimal) = (number.to_string(), format!("{number:016x}"));
            let row_number = row.and_then(|row| u32::try_from(row).ok());
            let from_decimal = spellings(&decimal, row);
            prop_assert!(from_decimal.contains(&Spelling(hexadecimal.clone(), row_number)));
            prop_assert!(spellings(&hexadecimal, row).contains(&Spelling(decimal, row_number)));
        }

        #[test]
        fn readings_are_few_and_distinct(id in "\\PC{0,300}", row in proptest::option::of(any::<usize>())) {
            let readings = spellings(&id, row);
            prop_assert!(readings.len() <= 12);
            for (at, reading) in readings.iter().enumerate() {
                prop_assert!(!readings[..at].contains(reading));
            }
        }
    }
}
