//! Parts of a date from seconds since 1970, in ONNX's arithmetic.

use std::f64::consts::TAU;

use super::builder::{Builder, Real, Val};
use super::preprocess::finite_or;
use crate::retrain::pipeline::DatePart;

/// A calculation on columns of numbers of 64 bits.
struct Sums<'a>(&'a mut Builder);

impl Sums<'_> {
    fn by(&mut self, operator: &str, value: &Val, number: f64) -> Val {
        let number = self.0.reals(Real::Double, &[], &[number]);
        self.0.op(operator, &[value, &number])
    }

    fn of(&mut self, operator: &str, left: &Val, right: &Val) -> Val {
        self.0.op(operator, &[left, right])
    }

    /// Whole times that `number` goes into `value`.
    fn quotient(&mut self, value: &Val, number: f64) -> Val {
        let quotient = self.by("Div", value, number);
        self.0.op("Floor", &[&quotient])
    }

    /// What is left of `value` then.
    fn remainder(&mut self, value: &Val, number: f64) -> Val {
        let whole = self.quotient(value, number);
        let whole = self.by("Mul", &whole, number);
        self.of("Sub", value, &whole)
    }
}

/// Two columns for each part, its sine and its cosine; 0 where `seconds` is missing.
pub(super) fn points(graph: &mut Builder, seconds: &Val, parts: &[DatePart]) -> Vec<Val> {
    let mut sums = Sums(graph);
    // Times are read to the millisecond, and count to the second.
    let seconds = sums.0.op("Floor", &[seconds]);
    let days = sums.quotient(&seconds, 86_400.0);
    let mut columns = Vec::with_capacity(2 * parts.len());
    for part in parts {
        let turn = match part {
            DatePart::Hour => {
                let of_day = sums.remainder(&seconds, 86_400.0);
                sums.by("Div", &of_day, 86_400.0)
            }
            DatePart::Weekday => {
                // 1970-01-01 was a Thursday.
                let shifted = sums.by("Add", &days, 3.0);
                let weekday = sums.remainder(&shifted, 7.0);
                sums.by("Div", &weekday, 7.0)
            }
            DatePart::Monthday => {
                let date = civil(&mut sums, &days);
                sums.by("Div", &date.day, 31.0)
            }
            DatePart::Month => {
                let date = civil(&mut sums, &days);
                sums.by("Div", &date.month, 12.0)
            }
            DatePart::Yearday => {
                let date = civil(&mut sums, &days);
                sums.by("Div", &date.of_year, 366.0)
            }
        };
        let angle = sums.by("Mul", &turn, TAU);
        // ONNX Runtime has a sine of 64 bits and no cosine: cos x = sin(x + π/2).
        let shifted = sums.by("Add", &angle, TAU / 4.0);
        for angle in [angle, shifted] {
            let point = sums.0.op("Sin", &[&angle]);
            columns.push(finite_or(sums.0, &point, 0.0));
        }
    }
    columns
}

/// A date, everything counted from 0.
struct Date {
    day: Val,
    month: Val,
    of_year: Val,
}

/// The date of a day since 1970.
///
/// # Source
///
/// Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`: years begin in March, so that the day
/// that comes and goes is the last one.
fn civil(sums: &mut Sums<'_>, days: &Val) -> Date {
    let shifted = sums.by("Add", days, 719_468.0);
    let of_era = sums.remainder(&shifted, 146_097.0);
    let four = sums.quotient(&of_era, 1_460.0);
    let century = sums.quotient(&of_era, 36_524.0);
    let era = sums.quotient(&of_era, 146_096.0);
    let year = sums.of("Sub", &of_era, &four);
    let year = sums.of("Add", &year, &century);
    let year = sums.of("Sub", &year, &era);
    let year = sums.quotient(&year, 365.0);
    let before = {
        let common = sums.by("Mul", &year, 365.0);
        let leap = sums.quotient(&year, 4.0);
        let none = sums.quotient(&year, 100.0);
        let sum = sums.of("Add", &common, &leap);
        sums.of("Sub", &sum, &none)
    };
    let of_march = sums.of("Sub", &of_era, &before);
    let scaled = sums.by("Mul", &of_march, 5.0);
    let scaled = sums.by("Add", &scaled, 2.0);
    let from_march = sums.quotient(&scaled, 153.0);
    let first = sums.by("Mul", &from_march, 153.0);
    let first = sums.by("Add", &first, 2.0);
    let first = sums.quotient(&first, 5.0);
    let day = sums.of("Sub", &of_march, &first);
    let month = sums.by("Add", &from_march, 2.0);
    let month = sums.remainder(&month, 12.0);
    // January and February, days 306 and later, belong to the next year, which may be a leap year.
    let turned = sums.by("Sub", &of_march, 306.0);
    let is_leap = leap(sums, &year);
    let later = sums.by("Add", &of_march, 59.0);
    let later = sums.of("Add", &later, &is_leap);
    let zero = sums.0.reals(Real::Double, &[], &[0.0]);
    let is_early = sums.of("Less", &turned, &zero);
    let of_year = sums.0.op("Where", &[&is_early, &later, &turned]);
    Date { day, month, of_year }
}

/// 1 where the year of an era, 0 to 399, has 366 days. March to December of a year that begins in March lie in the year of
/// the same number.
fn leap(sums: &mut Sums<'_>, year: &Val) -> Val {
    let mut divides = |number: f64| {
        let left = sums.remainder(year, number);
        let half = sums.0.reals(Real::Double, &[], &[0.5]);
        let divides = sums.of("Less", &left, &half);
        sums.0.cast(&divides, super::proto::ElementType::Double)
    };
    let (four, century, era) = (divides(4.0), divides(100.0), divides(400.0));
    let kept = sums.of("Sub", &four, &century);
    sums.of("Add", &kept, &era)
}
