//! Rule expressions: CEL, bounded in size and depth, with every name and type checked when a rule is loaded.
//!
//! Numbers are all one kind: counts, statistics and literals are doubles, so `n < 0.1 * n_reference` works.
//! A statistic that does not apply to a column is *unknown*, as is any comparison with it. `unknown || true` is
//! true and `unknown && false` is false; an expression that stays unknown is no breach. So neither `psi > 0.25`
//! nor `!(psi < 0.25)` alerts on a column that has no PSI. Where the unknown is a figure of the traffic, as it is without
//! earlier windows, the alert keeps its state.
//!
//! The limits together keep parsing, checking and evaluating within a stack of 2 MiB, which a test proves.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelDouble;
use cel::parser::PrattParser;
use cel::{Context, Value};

use super::satisfiable;
use super::traffic_names;
use super::vocabulary::{Fact, ForEach, Kind, Names, Scope, Subject, VIOLATIONS, variable_named};
use crate::yaml::hint;

/// Longest source, in bytes.
pub const MAX_SOURCE: usize = 4096;
/// Most nodes of the syntax tree.
pub const MAX_NODES: usize = 500;
/// Deepest nesting of the syntax tree.
pub const MAX_DEPTH: usize = 32;
/// Deepest nesting of brackets and operators that the parser follows.
const MAX_PARSER_DEPTH: u16 = 48;

const FUNCTIONS: [&str; 8] =
    ["abs", "contains", "startsWith", "endsWith", "all", "exists", "exists_one", "filter"];

/// A checked condition over one subject of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    source: String,
    tree: IdedExpr,
    names: Vec<&'static str>,
    decides_inconclusive: bool,
}

/// What an expression says about a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The condition holds.
    Breach,
    /// It does not, or rests on a statistic that does not apply.
    Clear,
    /// The window says too little to tell; the alert keeps its state.
    Inconclusive,
}

/// The functions that expressions may call, set up once for many evaluations.
pub(super) struct Engine {
    root: Context<'static, 'static>,
}

impl Engine {
    pub(super) fn new() -> Self {
        let mut root = Context::default();
        // Refused only when the standard library declares an `abs` of its own; then that one serves.
        let _own = root.add_function("abs", f64::abs);
        Self { root }
    }
}

impl Expression {
    /// Parses and checks `source` for rules with this `for_each`.
    ///
    /// # Errors
    ///
    /// What was expected, in one line.
    pub fn parse(source: &str, for_each: ForEach) -> Result<Self, String> {
        Self::parse_with(source, Names::Window(for_each))
    }

    /// Parses and checks `source`, which may use these names.
    pub(super) fn parse_with(source: &str, names: Names) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("expected at most {MAX_SOURCE} bytes, found {}", source.len()));
        }
        if source.trim().is_empty() {
            return Err("expected an expression such as `verdict == \"drift\"`, found nothing".to_owned());
        }
        let mut tree = PrattParser::new()
            .max_recursion_depth(MAX_PARSER_DEPTH)
            .max_expression_node_count(MAX_NODES)
            .error_recovery_limit(1)
            .error_reporting_limit(1)
            .parse(source)
            .map_err(|errors| syntax_problem(&errors, source))?;
        let mut check = Check {
            allowed: names,
            nodes: 0,
            bound: Vec::new(),
            names: Vec::new(),
            inferred: false,
            words: false,
        };
        let kind = check.expression(&mut tree, 1)?;
        expect(kind, Kind::Truth, "the expression")?;
        if let Some(why) = satisfiable::impossible(&tree) {
            return Err(format!("the condition can never be true: {why}"));
        }
        Ok(Self {
            source: source.to_owned(),
            tree,
            decides_inconclusive: !check.inferred || check.words,
            names: check.names,
        })
    }

    /// The text as it stands in the rule.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the expression says something even of a window that is `insufficient_data` or `untrusted`:
    /// it rests on counts and losses alone, or names one of the two words itself.
    pub fn decides_inconclusive(&self) -> bool {
        self.decides_inconclusive
    }

    /// Whether the expression names `violations`.
    pub(super) fn looks_at_checks(&self) -> bool {
        self.names.contains(&VIOLATIONS)
    }

    /// Whether the expression names anything of the window's traffic.
    pub(super) fn looks_at_traffic(&self) -> bool {
        self.traffic_names().next().is_some()
    }

    /// What of the window's traffic it names.
    pub(super) fn traffic_names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied().filter(|name| traffic_names::is_one(name))
    }

    /// The names it uses.
    pub(super) fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Judges one subject.
    pub(super) fn evaluate<'a>(&self, engine: &Engine, subject: impl Into<Subject<'a>>) -> Outcome {
        let subject = subject.into();
        let window = subject.window();
        if !self.decides_inconclusive && window.is_some_and(Scope::is_inconclusive) {
            return Outcome::Inconclusive;
        }
        let mut context = engine.root.new_inner_scope();
        for name in &self.names {
            match subject.fact(name) {
                Some(Fact::Number(number)) => context.add_variable_from_value(*name, number),
                Some(Fact::Text(text)) => context.add_variable_from_value(*name, text.to_owned()),
                Some(Fact::Truth(truth)) => context.add_variable_from_value(*name, truth),
                // Left out: CEL then carries the error through `&&` and `||` as the unknown it is.
                None => {}
            }
        }
        // What is not known between windows, or of the traffic, is known later; what does not apply to a column never is.
        let waits = |name: &&'static str| {
            (window.is_none() || traffic_names::is_one(name)) && subject.fact(name).is_none()
        };
        match Value::resolve(&self.tree, &context) {
            Ok(Value::Bool(true)) => Outcome::Breach,
            Err(_) if self.names.iter().any(waits) => Outcome::Inconclusive,
            // That no check was violated says nothing when none could be decided.
            _ if self.looks_at_checks() && window.is_some_and(Scope::checks_are_silent) => {
                Outcome::Inconclusive
            }
            _ => Outcome::Clear,
        }
    }
}

/// The parser's first complaint, in one line.
fn syntax_problem(errors: &cel::ParseErrors, source: &str) -> String {
    let Some(first) = errors.errors.first() else {
        return format!("expected a CEL expression, found `{source}`");
    };
    let message = first.msg.lines().next().unwrap_or_default();
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    // As it reads in plain words: `no_data for 15m`.
    let spelled = source.split_whitespace().any(|word| word == "for");
    let hint = if spelled { "; how long it has to hold is said by the key `for`" } else { "" };
    format!(
        "expected a CEL expression: line {}, column {}: {message}{hint}",
        first.pos.0.max(1),
        first.pos.1.max(1)
    )
}

fn expect(found: Kind, wanted: Kind, what: &str) -> Result<(), String> {
    if found == wanted || found == Kind::Any {
        Ok(())
    } else {
        Err(format!("{what}: expected {}, found {}", wanted.words(), found.words()))
    }
}

/// One walk over the tree: limits, names, types; integers become doubles on the way.
struct Check {
    allowed: Names,
    nodes: usize,
    /// Variables of the comprehension around the present node.
    bound: Vec<(String, Kind)>,
    names: Vec<&'static str>,
    inferred: bool,
    words: bool,
}

impl Check {
    fn expression(&mut self, node: &mut IdedExpr, depth: usize) -> Result<Kind, String> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(format!(
                "expected at most {MAX_DEPTH} levels of nesting; split the rule, or use `in [...]`"
            ));
        }
        if self.nodes > MAX_NODES {
            return Err(format!("expected at most {MAX_NODES} parts; split the rule"));
        }
        match &mut node.expr {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Ident(name) => self.name(name),
            Expr::Select(_) => {
                let name = qualified_name(&node.expr).ok_or("expected a name before `.`")?;
                self.name(&name)
            }
            Expr::List(list) => {
                let mut kind = Kind::Any;
                for element in &mut list.elements {
                    let found = self.expression(element, depth + 1)?;
                    expect(found, if kind == Kind::Any { found } else { kind }, "a list's element")?;
                    kind = found;
                }
                Ok(Kind::List)
            }
            Expr::Call(call) => {
                let name = call.func_name.clone();
                let mut kinds = Vec::with_capacity(3);
                for argument in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                    kinds.push(self.expression(argument, depth + 1)?);
                }
                if let ([left, right], operators::EQUALS | operators::NOT_EQUALS | operators::IN) =
                    (call.args.as_slice(), name.as_str())
                {
                    self.known_words(left, right)?;
                }
                call_kind(&name, call.target.is_some(), &kinds)
            }
            Expr::Comprehension(macro_call) => {
                if !self.bound.is_empty() {
                    return Err("expected no `all`, `exists` or `filter` inside another".to_owned());
                }
                let gathers = matches!(macro_call.accu_init.expr, Expr::List(_));
                if gathers && !appends(&macro_call.loop_step.expr, &macro_call.iter_var) {
                    return Err(format!(
                        "unknown function `map`, expected one of `{}`",
                        FUNCTIONS.join("`, `")
                    ));
                }
                let range = self.expression(&mut macro_call.iter_range, depth + 1)?;
                expect(range, Kind::List, "what `all`, `exists` or `filter` runs over")?;
                let result = self.expression(&mut macro_call.accu_init, depth + 1)?;
                self.bound.push((macro_call.accu_var.clone(), result));
                self.bound.push((macro_call.iter_var.clone(), Kind::Any));
                self.bound.extend(macro_call.iter_var2.clone().map(|name| (name, Kind::Any)));
                self.expression(&mut macro_call.loop_cond, depth + 1)?;
                self.expression(&mut macro_call.loop_step, depth + 1)?;
                let kind = self.expression(&mut macro_call.result, depth + 1)?;
                self.bound.clear();
                Ok(kind)
            }
            Expr::Map(_) | Expr::Struct(_) => Err("expected no `{…}` in an expression".to_owned()),
            Expr::Unspecified => Err("expected an expression, found nothing".to_owned()),
        }
    }

    fn literal(&mut self, literal: &mut LiteralValue) -> Result<Kind, String> {
        let number = match literal {
            LiteralValue::Boolean(_) => return Ok(Kind::Truth),
            LiteralValue::String(text) => {
                self.words |= matches!(text.inner(), "insufficient_data" | "untrusted");
                return Ok(Kind::Text);
            }
            LiteralValue::Double(_) => return Ok(Kind::Number),
            LiteralValue::Int(number) => *number.inner() as f64,
            LiteralValue::UInt(number) => *number.inner() as f64,
            LiteralValue::Null | LiteralValue::Bytes(_) => {
                return Err("expected a number, text, true or false".to_owned());
            }
        };
        *literal = LiteralValue::Double(CelDouble::from(number));
        Ok(Kind::Number)
    }

    fn name(&mut self, name: &str) -> Result<Kind, String> {
        if let Some((_, kind)) = self.bound.iter().find(|(bound, _)| bound == name) {
            return Ok(*kind);
        }
        let variable = variable_named(self.allowed, name)?;
        self.inferred |= variable.inferred;
        if !self.names.contains(&variable.name) {
            self.names.push(variable.name);
        }
        Ok(variable.kind)
    }

    /// Refuses a comparison with a word that the variable never holds, such as `verdict == "drifted"`.
    fn known_words(&self, left: &IdedExpr, right: &IdedExpr) -> Result<(), String> {
        for (name, other) in [(left, right), (right, left)] {
            let Some(name) = qualified_name(&name.expr) else { continue };
            let Ok(variable) = variable_named(self.allowed, &name) else { continue };
            if variable.words.is_empty() || self.bound.iter().any(|(bound, _)| *bound == name) {
                continue;
            }
            let texts = match &other.expr {
                Expr::List(list) => list.elements.as_slice(),
                _ => std::slice::from_ref(other),
            };
            for text in texts {
                let Expr::Literal(LiteralValue::String(text)) = &text.expr else { continue };
                let text = text.inner();
                if !variable.words.contains(&text) {
                    let near = hint(text, variable.words.iter().copied());
                    let words = variable.words.join("`, `");
                    return Err(format!("`{name}` is never `{text}`{near} (one of `{words}`)"));
                }
            }
        }
        Ok(())
    }
}

/// Whether a step of a comprehension that gathers a list appends nothing but the element itself, as `filter` does.
///
/// `map` appends what it makes of the element, such as a list that holds it twice: a few of them in a row would fill the
/// memory.
fn appends(step: &Expr, element: &str) -> bool {
    let Expr::Call(call) = step else { return matches!(step, Expr::Ident(_)) };
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::CONDITIONAL, [_, yes, no]) => appends(&yes.expr, element) && appends(&no.expr, element),
        (operators::ADD, [_, added]) => match &added.expr {
            Expr::List(list) => {
                list.elements.iter().all(|one| matches!(&one.expr, Expr::Ident(name) if name == element))
            }
            _ => false,
        },
        _ => false,
    }
}

/// `a.b.c` as one name.
pub(super) fn qualified_name(expr: &Expr) -> Option<String> {
    let mut parts = Vec::new();
    let mut expr = expr;
    loop {
        match expr {
            Expr::Ident(name) => {
                parts.push(name.as_str());
                parts.reverse();
                return Some(parts.join("."));
            }
            Expr::Select(select) if !select.test => {
                parts.push(&select.field);
                expr = &select.operand.expr;
            }
            _ => return None,
        }
    }
}

/// What a call gives for arguments of these kinds, the target of a method first.
fn call_kind(name: &str, method: bool, kinds: &[Kind]) -> Result<Kind, String> {
    let all = |wanted, what: &str| kinds.iter().try_for_each(|kind| expect(*kind, wanted, what));
    let same = |what: &str, kinds: &[Kind]| match kinds {
        [left, right] if left != right && *left != Kind::Any && *right != Kind::Any => {
            Err(format!("{what}: expected two of a kind, found {} and {}", left.words(), right.words()))
        }
        _ => Ok(()),
    };
    match (name, method, kinds.len()) {
        (operators::LOGICAL_AND, false, 2) => all(Kind::Truth, "`&&`").map(|()| Kind::Truth),
        (operators::LOGICAL_OR, false, 2) => all(Kind::Truth, "`||`").map(|()| Kind::Truth),
        (operators::LOGICAL_NOT, false, 1) => all(Kind::Truth, "`!`").map(|()| Kind::Truth),
        (operators::NOT_STRICTLY_FALSE, false, 1) => Ok(Kind::Truth),
        (operators::CONDITIONAL, false, 3) => {
            expect(kinds[0], Kind::Truth, "before `?`")?;
            same("`? :`", &kinds[1..])?;
            Ok(kinds[1])
        }
        (
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
            false,
            2,
        ) => all(Kind::Number, "a comparison").map(|()| Kind::Truth),
        (operators::EQUALS | operators::NOT_EQUALS, false, 2) => {
            same("`==` or `!=`", kinds).map(|()| Kind::Truth)
        }
        (operators::IN, false, 2) => expect(kinds[1], Kind::List, "after `in`").map(|()| Kind::Truth),
        // A filter gathers what it keeps in a list.
        (operators::ADD, false, 2) if kinds.contains(&Kind::List) => {
            all(Kind::List, "`+`").map(|()| Kind::List)
        }
        (operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE, false, 2)
        | (operators::NEGATE, false, 1) => all(Kind::Number, "arithmetic").map(|()| Kind::Number),
        ("abs", false, 1) => all(Kind::Number, "`abs`").map(|()| Kind::Number),
        ("contains" | "startsWith" | "endsWith", true, 2) => {
            all(Kind::Text, &format!("`{name}`")).map(|()| Kind::Truth)
        }
        (operators::MODULO, ..) => Err("expected no `%` in an expression".to_owned()),
        (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, ..) => {
            Err("expected no `[…]` after a value".to_owned())
        }
        _ if FUNCTIONS.contains(&name) => Err(format!("`{name}` is not called like that")),
        _ => Err(format!("unknown function `{name}`{}", hint(name, FUNCTIONS))),
    }
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
