//! Texts that a person wrote in place of the built-in ones: checked on loading, escaped, bounded.

use std::collections::BTreeSet;
use std::path::Path;

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use serde_json::Value as Json;

use super::{checked_against, slack};
use crate::alert::{Message, number_text, one_line, percent};
use crate::config::{Channel, Receiver};
use crate::yaml::hint;

/// Longest template, in bytes.
const MAX_SOURCE: usize = 64 * 1024;

/// Steps that one rendering may take.
const FUEL: u64 = 200_000;

/// Longest text that one rendering may give, in bytes.
const MAX_TEXT: usize = 256 * 1024;

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 250;

/// What the text goes into, which decides what has to be escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Html,
    Slack,
    Json,
}

/// One template.
#[derive(Debug)]
struct Template {
    /// Its file, for messages.
    name: String,
    source: String,
    environment: Environment<'static>,
    form: Form,
}

/// The templates of one receiver.
#[derive(Debug, Default)]
pub(super) struct Texts {
    subject: Option<Template>,
    text: Option<Template>,
    html: Option<Template>,
    body: Option<Template>,
}

impl Texts {
    /// Reads and checks the templates of `receiver`.
    ///
    /// # Errors
    ///
    /// The first problem of every template, with file, line, and the nearest known name.
    pub(super) fn build(receiver: &Receiver) -> Result<Self, String> {
        let mut texts = Self::default();
        let mut problems = Vec::new();
        for (key, file) in receiver.templates.files() {
            let Some(file) = file else { continue };
            let form = match (key, &receiver.channel) {
                ("html", _) => Form::Html,
                ("body", _) => Form::Json,
                ("text", Channel::Slack(_)) => Form::Slack,
                _ => Form::Plain,
            };
            match Template::load(file, form) {
                Ok(template) => {
                    let place = match key {
                        "subject" => &mut texts.subject,
                        "text" => &mut texts.text,
                        "html" => &mut texts.html,
                        _ => &mut texts.body,
                    };
                    *place = Some(template);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(texts) } else { Err(problems.join("\n")) }
    }

    /// The subject; nothing without a template, or when it cannot be rendered.
    pub(super) fn subject(&self, message: &Message) -> Option<String> {
        let subject = self.subject.as_ref()?.try_render(message)?;
        // A line break in a header would begin another header.
        let words = subject.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(one_line(&words, MAX_SUBJECT))
    }

    /// The text; nothing without a template, or when it cannot be rendered.
    pub(super) fn text(&self, message: &Message) -> Option<String> {
        self.text.as_ref()?.try_render(message)
    }

    /// The HTML; nothing without a template, or when it cannot be rendered.
    pub(super) fn html(&self, message: &Message) -> Option<String> {
        self.html.as_ref()?.try_render(message)
    }

    /// The JSON; nothing without a template, or when it cannot be rendered.
    pub(super) fn body(&self, message: &Message) -> Option<String> {
        self.body.as_ref()?.try_render(message)
    }
}

impl Template {
    fn load(file: &Path, form: Form) -> Result<Self, String> {
        let name = file.display().to_string();
        let source =
            std::fs::read_to_string(file).map_err(|error| format!("`{name}` cannot be read: {error}"))?;
        if source.len() > MAX_SOURCE {
            return Err(format!("{name}: {} bytes, more than {MAX_SOURCE}", source.len()));
        }
        let template = Self { name, source, environment: environment(form), form };
        template.check()?;
        Ok(template)
    }

    /// Renders examples of all occasions with missing names as errors.
    fn check(&self) -> Result<(), String> {
        let examples = checked_against();
        let known = examples.first().map(context).unwrap_or_default();
        let parsed = self.environment.template_from_named_str(&self.name, &self.source);
        let parsed = parsed.map_err(|error| self.describe(&error, &known))?;
        let names: Vec<&str> =
            known.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let functions: BTreeSet<&str> = self.environment.globals().map(|(name, _)| name).collect();
        let unknown: BTreeSet<String> = parsed
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !names.contains(&name.as_str()) && !functions.contains(name.as_str()))
            .collect();
        if let Some(name) = unknown.first() {
            let line = 1 + self.source.lines().position(|line| words(line).any(|w| w == *name)).unwrap_or(0);
            let near = hint(name, names.iter().copied());
            return Err(format!("{}:{line}: unknown name `{name}`{near}", self.name));
        }
        let mut strict = self.environment.clone();
        strict.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        for example in &examples {
            let rendered = strict.render_named_str(&self.name, &self.source, context(example));
            let text = rendered.map_err(|error| self.describe(&error, &known))?;
            self.bounded(text)?;
        }
        Ok(())
    }

    /// The text, when it fits its form.
    fn bounded(&self, text: String) -> Result<String, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("{}: its text has more than {MAX_TEXT} bytes", self.name));
        }
        if self.form == Form::Json {
            serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|error| {
                let hint = "values are quoted already, as in {\"text\": {{ summary }}}";
                format!("{}: what it gives is not JSON: {error}; {hint}", self.name)
            })?;
        }
        Ok(text)
    }

    /// The text for `message`. A template that fails on it is no reason to lose the message: the built-in text goes
    /// out instead.
    fn try_render(&self, message: &Message) -> Option<String> {
        let rendered = self.environment.render_named_str(&self.name, &self.source, context(message));
        match rendered.map_err(|error| error.to_string()).and_then(|text| self.bounded(text)) {
            Ok(text) => Some(text),
            Err(problem) => {
                tracing::warn!(
                    template = self.name,
                    problem,
                    "a template failed, the built-in text is sent instead"
                );
                None
            }
        }
    }

    /// An error of the template engine with file and line, and for a missing name the nearest that is there.
    fn describe(&self, error: &Error, known: &Json) -> String {
        let line = error.line().unwrap_or(1);
        let place = format!("{}:{line}", self.name);
        if error.kind() == ErrorKind::UndefinedError {
            let mut keys = BTreeSet::new();
            collect_keys(known, &mut keys);
            let text = self.source.lines().nth(line.saturating_sub(1)).unwrap_or_default();
            let missing = attributes(text).find(|name| !keys.contains(name));
            if let Some(name) = missing {
                let near = hint(name, keys.iter().copied());
                return format!(
                    "{place}: unknown name `{name}`{near}; `| default('…')` if not every message has it"
                );
            }
        }
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        if error.kind() == ErrorKind::OutOfFuel {
            return format!("{place}: takes more than {FUEL} steps");
        }
        format!("{place}: {detail}")
    }
}

fn environment(form: Form) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    // In service a missing name is empty: the message goes out.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(move |_| match form {
        Form::Plain => AutoEscape::None,
        Form::Html => AutoEscape::Html,
        Form::Slack => AutoEscape::Custom("slack"),
        Form::Json => AutoEscape::Custom("json"),
    });
    environment.set_formatter(format_value);
    environment.add_filter("percent", |share: f64| percent(share));
    environment.add_filter("number", |number: f64| number_text(number));
    environment
}

/// Writes a value as its place wants it; `none` is empty.
fn format_value(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = match state.auto_escape() {
        AutoEscape::Custom("json") if !value.is_safe() => {
            let json =
                if value.is_undefined() { Ok("null".to_owned()) } else { serde_json::to_string(value) };
            let json = json.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
            out.write_str(&json)
        }
        _ if value.is_none() || value.is_undefined() => Ok(()),
        AutoEscape::Custom("slack") if !value.is_safe() => out.write_str(&slack::escape(&value.to_string())),
        AutoEscape::Custom(_) => out.write_str(&value.to_string()),
        _ => return minijinja::escape_formatter(out, state, value),
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "the text cannot be written"))
}

/// What a template may name: the message, and a few words about it.
fn context(message: &Message) -> Json {
    let mut context = serde_json::to_value(message).unwrap_or_default();
    let more = serde_json::json!({
        "subject": message.subject(),
        "topic": message.topic(),
        "word": message.outline().word,
        "note": message.outline().note,
        "model": message.model(),
        "severity": message.severity(),
    });
    if let (Json::Object(context), Json::Object(more)) = (&mut context, more) {
        context.extend(more);
    }
    context
}

/// The keys of all objects in a document.
fn collect_keys<'a>(document: &'a Json, keys: &mut BTreeSet<&'a str>) {
    match document {
        Json::Object(fields) => {
            for (name, value) in fields {
                keys.insert(name);
                collect_keys(value, keys);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

/// The words of a line.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The words of a line that stand after a dot, within `{{ … }}` or `{% … %}`.
fn attributes(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split(['{', '}', '%']).skip(1);
    code.flat_map(|part| part.split('.').skip(1)).filter_map(|after| words(after).next())
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
