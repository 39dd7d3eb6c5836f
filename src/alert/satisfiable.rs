//! Finds expressions that can never be true: constants, contradictory bounds, values that a name never has.
//!
//! An expression is turned into alternatives, each a list of comparisons that would all have to hold. Where one name is
//! compared with constants, the comparisons leave a range or a set of words; an alternative that leaves none is
//! impossible. Whatever else there is, such as a comparison of two names, is taken for possible, so nothing that could be
//! true is refused.

use std::collections::BTreeMap;

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

use super::expression::qualified_name;
use super::vocabulary::range;

/// Most alternatives that are looked at; with more, the expression is taken for possible.
const MAX_ALTERNATIVES: usize = 256;

/// Why `tree` can never be true, if it cannot.
pub(super) fn impossible(tree: &IdedExpr) -> Option<String> {
    let alternatives = alternatives(&tree.expr, true)?;
    let mut first = None;
    for alternative in &alternatives {
        let why = contradiction(alternative)?;
        first.get_or_insert(why);
    }
    first
}

/// One part of an alternative.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// Nothing is known of it.
    Open,
    /// It never holds.
    Never,
    /// A name compared with a number.
    Number(String, Relation, f64),
    /// A name that is one of these texts.
    Among(String, Vec<String>),
    /// A name that is none of these texts.
    Except(String, Vec<String>),
    /// A name that is true or false by itself.
    Truth(String, bool),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    Less,
    AtMost,
    Equal,
    Not,
    AtLeast,
    More,
}

impl Relation {
    fn of(function: &str) -> Option<Self> {
        match function {
            operators::LESS => Some(Self::Less),
            operators::LESS_EQUALS => Some(Self::AtMost),
            operators::EQUALS => Some(Self::Equal),
            operators::NOT_EQUALS => Some(Self::Not),
            operators::GREATER_EQUALS => Some(Self::AtLeast),
            operators::GREATER => Some(Self::More),
            _ => None,
        }
    }

    fn negated(self) -> Self {
        match self {
            Self::Less => Self::AtLeast,
            Self::AtMost => Self::More,
            Self::Equal => Self::Not,
            Self::Not => Self::Equal,
            Self::AtLeast => Self::Less,
            Self::More => Self::AtMost,
        }
    }

    /// The same with its sides exchanged.
    fn turned(self) -> Self {
        match self {
            Self::Less => Self::More,
            Self::AtMost => Self::AtLeast,
            Self::AtLeast => Self::AtMost,
            Self::More => Self::Less,
            other => other,
        }
    }

    #[expect(clippy::float_cmp, reason = "as the expression compares them")]
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Equal => left == right,
            Self::Not => left != right,
            Self::AtLeast => left >= right,
            Self::More => left > right,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Less => "under",
            Self::AtMost => "at most",
            Self::Equal => "equal to",
            Self::Not => "other than",
            Self::AtLeast => "at least",
            Self::More => "over",
        }
    }
}

/// The alternatives of an expression that is `wanted` to be true or false; absent when there are too many.
fn alternatives(expr: &Expr, wanted: bool) -> Option<Vec<Vec<Part>>> {
    let Expr::Call(call) = expr else { return Some(vec![vec![part(expr, wanted)]]) };
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::LOGICAL_NOT, [inner]) => alternatives(&inner.expr, !wanted),
        (operators::LOGICAL_AND, [left, right]) => join(&left.expr, wanted, &right.expr, wanted, wanted),
        (operators::LOGICAL_OR, [left, right]) => join(&left.expr, wanted, &right.expr, wanted, !wanted),
        (operators::CONDITIONAL, [condition, yes, no]) => {
            let mut all = join(&condition.expr, true, &yes.expr, wanted, true)?;
            all.extend(join(&condition.expr, false, &no.expr, wanted, true)?);
            (all.len() <= MAX_ALTERNATIVES).then_some(all)
        }
        _ => Some(vec![vec![part(expr, wanted)]]),
    }
}

/// The alternatives of two expressions: `both` have to hold, or one of them.
fn join(left: &Expr, left_is: bool, right: &Expr, right_is: bool, both: bool) -> Option<Vec<Vec<Part>>> {
    let (mut left, right) = (alternatives(left, left_is)?, alternatives(right, right_is)?);
    if both {
        if left.len().saturating_mul(right.len()) > MAX_ALTERNATIVES {
            return None;
        }
        let pairs =
            left.iter().flat_map(|left| right.iter().map(|right| [left.clone(), right.clone()].concat()));
        return Some(pairs.collect());
    }
    left.extend(right);
    (left.len() <= MAX_ALTERNATIVES).then_some(left)
}

fn part(expr: &Expr, wanted: bool) -> Part {
    let holds = |holds: bool| if holds == wanted { Part::Open } else { Part::Never };
    if let Some(name) = qualified_name(expr) {
        return Part::Truth(name, wanted);
    }
    let call = match expr {
        Expr::Literal(LiteralValue::Boolean(truth)) => return holds(*truth.inner()),
        Expr::Call(call) => call,
        _ => return Part::Open,
    };
    let [left, right] = call.args.as_slice() else { return Part::Open };
    if call.func_name == operators::IN {
        let texts: Option<Vec<String>> = match &right.expr {
            Expr::List(list) => list.elements.iter().map(|element| text(&element.expr)).collect(),
            _ => None,
        };
        return match qualified_name(&left.expr).zip(texts) {
            Some((name, texts)) if wanted => Part::Among(name, texts),
            Some((name, texts)) => Part::Except(name, texts),
            None => Part::Open,
        };
    }
    let Some(relation) = Relation::of(&call.func_name) else { return Part::Open };
    let asked = if wanted { relation } else { relation.negated() };
    if let (Some(left), Some(right)) = (number(&left.expr), number(&right.expr)) {
        return if asked.holds(left, right) { Part::Open } else { Part::Never };
    }
    if let (Some(left), Some(right)) = (text(&left.expr), text(&right.expr)) {
        return holds((left == right) == (relation == Relation::Equal));
    }
    for (name, other, asked) in [(left, right, asked), (right, left, asked.turned())] {
        let Some(name) = qualified_name(&name.expr) else { continue };
        if let Some(number) = number(&other.expr) {
            return Part::Number(name, asked, number);
        }
        if let Some(text) = text(&other.expr) {
            let one = vec![text];
            return if asked == Relation::Equal { Part::Among(name, one) } else { Part::Except(name, one) };
        }
    }
    Part::Open
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    }
}

/// The number that an expression without names is.
fn number(expr: &Expr) -> Option<f64> {
    let call = match expr {
        Expr::Literal(LiteralValue::Double(number)) => return Some(*number.inner()),
        Expr::Call(call) if call.target.is_none() => call,
        _ => return None,
    };
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::NEGATE, [inner]) => Some(-number(&inner.expr)?),
        ("abs", [inner]) => Some(number(&inner.expr)?.abs()),
        (operators::ADD, [left, right]) => Some(number(&left.expr)? + number(&right.expr)?),
        (operators::SUBSTRACT, [left, right]) => Some(number(&left.expr)? - number(&right.expr)?),
        (operators::MULTIPLY, [left, right]) => Some(number(&left.expr)? * number(&right.expr)?),
        (operators::DIVIDE, [left, right]) => Some(number(&left.expr)? / number(&right.expr)?),
        _ => None,
    }
}

/// What is left of one name's values.
#[derive(Debug, Default)]
struct Left<'p> {
    numbers: Vec<(Relation, f64)>,
    among: Vec<&'p [String]>,
    except: Vec<&'p [String]>,
    truths: Vec<bool>,
}

/// Why these parts cannot all hold, if they cannot.
fn contradiction(parts: &[Part]) -> Option<String> {
    let mut by_name: BTreeMap<&str, Left<'_>> = BTreeMap::new();
    for part in parts {
        match part {
            Part::Open => {}
            Part::Never => return Some("a part without names is false".to_owned()),
            Part::Number(name, relation, number) => {
                by_name.entry(name).or_default().numbers.push((*relation, *number));
            }
            Part::Among(name, texts) => by_name.entry(name).or_default().among.push(texts),
            Part::Except(name, texts) => by_name.entry(name).or_default().except.push(texts),
            Part::Truth(name, truth) => by_name.entry(name).or_default().truths.push(*truth),
        }
    }
    by_name.into_iter().find_map(|(name, left)| left.contradiction(name))
}

impl Left<'_> {
    fn contradiction(&self, name: &str) -> Option<String> {
        if self.truths.contains(&true) && self.truths.contains(&false) {
            return Some(format!("`{name}` would have to be both true and false"));
        }
        if let Some((first, others)) = self.among.split_first() {
            let fits = |text: &String| {
                others.iter().all(|other| other.contains(text))
                    && !self.except.iter().any(|except| except.contains(text))
            };
            if !first.iter().any(fits) {
                return Some(format!("`{name}` would have to be different words at once"));
            }
        }
        let range = range(name);
        if let Some((relation, number)) = self.numbers.iter().find(|asked| !meets(range, &[**asked])) {
            let (least, most) = range;
            let words = relation.words();
            let most = if most.is_finite() { format!(" and at most {most}") } else { String::new() };
            return Some(format!("`{name}` is never {words} {number}: it is at least {least}{most}"));
        }
        if meets(range, &self.numbers) {
            return None;
        }
        let asked: Vec<String> =
            self.numbers.iter().map(|(relation, number)| format!("{} {number}", relation.words())).collect();
        Some(format!("`{name}` would have to be {}", asked.join(" and ")))
    }
}

/// Whether a number between `range`'s ends meets every relation.
fn meets(range: (f64, f64), asked: &[(Relation, f64)]) -> bool {
    // What decides can only change at a bound, just beside it, or between two of them.
    let mut points: Vec<f64> =
        asked.iter().map(|(_, number)| *number).chain([range.0, range.1, 0.0]).collect();
    points.extend(asked.iter().flat_map(|(_, number)| [number.next_down(), number.next_up()]));
    points.sort_by(f64::total_cmp);
    let between: Vec<f64> = points.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).collect();
    points.iter().chain(&between).any(|point| {
        *point >= range.0
            && *point <= range.1
            && asked.iter().all(|(relation, number)| relation.holds(*point, *number))
    })
}

#[cfg(test)]
#[path = "satisfiable_tests.rs"]
mod tests;
