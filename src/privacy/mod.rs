//! What is dropped, hashed or masked before profile, capture, log or trace can see it.
//!
//! [`Rules`] are what somebody asked for, a [`Policy`] is that with the keys, ready to be applied. Applying one twice
//! changes nothing more, so that it does no harm when two ways in meet.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::model::{Column, Exchange, FeatureKind, ModelName, Value};
use crate::profile::{ColumnLayout, Cut, Layout};

mod fields;
mod keys;
mod mask;

pub use fields::Fields;
pub use keys::{BadKeys, Keys, MAX_KEYS, MIN_KEY_BYTES};
pub use mask::MAX_PATTERN;
use mask::{Form, Hints, Mask};

/// Masks of one's own that a model may have.
pub const MAX_MASKS: usize = 64;

/// What a mask looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskRule {
    /// `email`, `phone`, `card`, or the name of a pattern of one's own; `[name]` takes the place of what was found.
    pub name: String,
    /// A pattern of one's own, a regular expression.
    pub pattern: Option<String>,
    /// The columns to look at, as for [`Fields`]; empty: every text, the names of columns and versions, and ids.
    pub columns: Vec<String>,
}

/// What becomes of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ids {
    /// They are kept as they came, unless a mask finds something in them.
    #[default]
    Keep,
    /// They are hashed; labels find them all the same.
    Hash,
}

/// What was asked for one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Columns that are left out.
    pub drop: Vec<String>,
    /// Columns whose values are hashed.
    pub hash: Vec<String>,
    /// What is masked.
    pub mask: Vec<MaskRule>,
    /// What becomes of ids.
    pub ids: Ids,
}

impl Rules {
    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it takes a key.
    pub fn needs_key(&self) -> bool {
        !self.hash.is_empty() || self.ids == Ids::Hash
    }

    /// Everything that is wrong with it, each with the setting it stands in.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (list, names) in [("drop", &self.drop), ("hash", &self.hash)] {
            problems.extend(
                names
                    .iter()
                    .filter(|name| name.trim().is_empty())
                    .map(|_| format!("`{list}` has an empty name")),
            );
        }
        for name in &self.drop {
            if self.hash.iter().any(|other| other.trim().eq_ignore_ascii_case(name.trim())) {
                problems.push(format!("`{name}` is both in `drop` and in `hash`; keep one of them"));
            }
        }
        if self.mask.len() > MAX_MASKS {
            problems.push(format!("`mask` has more than {MAX_MASKS} entries"));
        }
        for (at, rule) in self.mask.iter().enumerate() {
            if let Err(problem) = rule.form() {
                problems.push(format!("`mask[{at}]` (`{}`): {problem}", rule.name));
            }
            if self.mask[..at].iter().any(|other| other.name == rule.name) {
                problems.push(format!("`mask[{at}]`: `{}` is listed twice", rule.name));
            }
        }
        problems
    }
}

impl MaskRule {
    /// One of the masks that are built in: `email`, `phone` or `card`.
    pub fn built_in(name: &str) -> Self {
        Self { name: name.to_owned(), pattern: None, columns: Vec::new() }
    }

    fn form(&self) -> Result<Form, String> {
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        match (self.name.as_str(), &self.pattern) {
            ("email" | "phone" | "card", Some(_)) => {
                Err("this is the name of a built-in mask; give your pattern another one".to_owned())
            }
            ("email", None) => Mask::email(),
            ("phone", None) => Mask::phone(),
            ("card", None) => Ok(Form::Card),
            (name, _) if name.is_empty() || name.len() > 32 || !name.chars().all(named) => {
                Err("a mask's name has 1 to 32 letters, digits, `_` and `-`".to_owned())
            }
            (_, None) => {
                Err("only `email`, `phone` and `card` are built in; others need a `pattern`".to_owned())
            }
            (_, Some(pattern)) => {
                let form = mask::compile(pattern).map(Form::Pattern)?;
                match &form {
                    Form::Pattern(regex) if regex.is_match(&format!("[{}]", self.name)) => {
                        Err("`pattern` matches what takes the place of a match; choose another `name`"
                            .to_owned())
                    }
                    _ => Ok(form),
                }
            }
        }
    }
}

/// What becomes of the fields of one model.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// `None` when nothing was asked for, so that the usual case costs one comparison.
    compiled: Option<Arc<Compiled>>,
    /// Keys of columns whose baseline was made with an older one, by name.
    bound: HashMap<String, usize>,
}

#[derive(Debug)]
struct Compiled {
    drop: Fields,
    hash: Fields,
    masks: Vec<Mask>,
    hash_ids: bool,
    keys: Keys,
}

impl Policy {
    /// The policy that `rules` ask for. `secret` hashes what must not be kept and has no key: ids in which a mask finds
    /// something; it is to be random and unknown, and may be another one in every process.
    ///
    /// # Errors
    ///
    /// Every problem of the rules, and the lack of a key.
    pub fn new(rules: &Rules, keys: Option<&Keys>, secret: &[u8]) -> Result<Self, Vec<String>> {
        let mut problems = rules.problems();
        if keys.is_none() && rules.needs_key() {
            problems.push("hashing needs a `key_file`".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if rules.is_empty() {
            return Ok(Self::default());
        }
        let mut masks = Vec::with_capacity(rules.mask.len());
        for rule in &rules.mask {
            let columns = (!rule.columns.is_empty()).then(|| Fields::new(&rule.columns));
            masks.push(Mask::new(&rule.name, rule.form().map_err(|problem| vec![problem])?, columns));
        }
        let compiled = Compiled {
            drop: Fields::new(&rules.drop),
            hash: Fields::new(&rules.hash),
            masks,
            hash_ids: rules.ids == Ids::Hash,
            keys: keys.map_or_else(|| Keys::of_process(secret), Clone::clone),
        };
        Ok(Self { compiled: Some(Arc::new(compiled)), bound: HashMap::new() })
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.compiled.is_none()
    }

    /// Changes an exchange into what may be kept of it.
    pub fn apply(&self, exchange: &mut Exchange) {
        if self.is_empty() {
            return;
        }
        self.apply_to_columns(&mut exchange.batch.features);
        self.apply_to_columns(&mut exchange.batch.outputs);
        for id in std::iter::once(&mut exchange.id).chain(&mut exchange.other_ids) {
            if let Cow::Owned(kept) = self.id(id) {
                *id = kept;
            }
        }
        if let Some(version) = &exchange.model_version
            && let Cow::Owned(masked) = self.text(version)
        {
            exchange.model_version = Some(masked);
        }
    }

    /// Changes the columns of one side of an exchange, or of a file, into what may be kept of them.
    pub fn apply_to_columns(&self, columns: &mut Vec<Column>) {
        let Some(compiled) = self.compiled.as_deref() else { return };
        if !compiled.drop.is_empty() {
            columns.retain(|column| !compiled.drop.matches(&column.name));
        }
        for column in columns.iter_mut() {
            self.apply_to_values(&column.name, &mut column.values);
        }
        self.mask_names(columns);
    }

    /// Changes the values of the column `name`, which is not a dropped one.
    pub fn apply_to_values(&self, name: &str, values: &mut [Value]) {
        let Some(compiled) = self.compiled.as_deref() else { return };
        if compiled.hash.matches(name) {
            let key = self.bound.get(name).copied().unwrap_or(0);
            for value in values {
                if let Some(text) = canonical(value) {
                    *value = Value::Text(compiled.keys.hash(key, &text));
                }
            }
            return;
        }
        // Columns by name are found out once, and not for every value.
        let covering: u64 = compiled
            .masks
            .iter()
            .enumerate()
            .filter(|(_, mask)| mask.covers(name))
            .fold(0, |bits, (at, _)| bits | 1 << at);
        if covering == 0 {
            return;
        }
        let masks = || compiled.masks.iter().enumerate().filter(|(at, _)| covering >> at & 1 == 1);
        for value in values {
            match value {
                Value::Text(text) => {
                    let mut hints = Hints::of(text);
                    for (_, mask) in masks() {
                        if let Some(masked) = mask.replace(text, hints) {
                            *text = masked;
                            hints = Hints::of(text);
                        }
                    }
                }
                Value::Number(number) => {
                    if let Some(token) = masks().find_map(|(_, mask)| mask.replace_number(*number)) {
                        *value = Value::Text(token.to_owned());
                    }
                }
                Value::Missing | Value::Bool(_) | Value::Opaque => {}
            }
        }
    }

    /// Masks what names of columns hold that came off the wire, such as the keys of an object; names that have become
    /// alike are told apart by a number.
    fn mask_names(&self, columns: &mut [Column]) {
        for at in 0..columns.len() {
            let Cow::Owned(masked) = self.text(&columns[at].name) else { continue };
            let mut free = masked.clone();
            let mut copy = 2;
            while columns.iter().any(|column| column.name == free) {
                free = format!("{masked}#{copy}");
                copy += 1;
            }
            columns[at].name = free.into();
        }
    }

    /// What may be kept of a text that is no value of a column: a version, a name, a label.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(compiled) = self.compiled.as_deref() else { return Cow::Borrowed(text) };
        let mut kept = Cow::Borrowed(text);
        let mut hints = None;
        for mask in compiled.masks.iter().filter(|mask| mask.columns.is_none()) {
            let known = *hints.get_or_insert_with(|| Hints::of(&kept));
            if let Some(masked) = mask.replace(&kept, known) {
                kept = Cow::Owned(masked);
                hints = None;
            }
        }
        kept
    }

    /// What may be kept of an id: itself, or its hash where ids are hashed or a mask finds something in it. Two ids stay
    /// two.
    pub fn id<'t>(&self, id: &'t str) -> Cow<'t, str> {
        match self.compiled.as_deref() {
            Some(compiled) if self.is_hashed_id(compiled, id) => Cow::Owned(compiled.keys.hash(0, id)),
            _ => Cow::Borrowed(id),
        }
    }

    fn is_hashed_id(&self, compiled: &Compiled, id: &str) -> bool {
        compiled.keys.key_of(id).is_none() && (compiled.hash_ids || matches!(self.text(id), Cow::Owned(_)))
    }

    /// The ids under which a row with this id may have been kept, the likeliest first: by the current key, then by each
    /// older one. Where ids are hashed, one that ends in a row (`_3`, `:3`, `-item-3`) is also that row of the exchange
    /// before it, whose id was hashed without it.
    pub fn ids_for_lookup(&self, id: &str) -> Vec<String> {
        let Some(compiled) = self.compiled.as_deref() else { return vec![id.to_owned()] };
        let row = split_row(id);
        let whole = self.is_hashed_id(compiled, id);
        let before = row.is_some_and(|(before, _)| self.is_hashed_id(compiled, before));
        if !whole && !before {
            return vec![id.to_owned()];
        }
        let mut ids = Vec::with_capacity(2 * compiled.keys.len() + 1);
        for key in 0..compiled.keys.len() {
            if whole {
                ids.push(compiled.keys.hash(key, id));
            }
            if before && let Some((before, row)) = row {
                ids.push(format!("{}_{row}", compiled.keys.hash(key, before)));
            }
        }
        if !compiled.hash_ids && compiled.keys.key_of(id).is_none() {
            // Kept before a mask was set.
            ids.push(id.to_owned());
        }
        ids
    }

    /// The values that the column `name` may hold where it was `value`, newest key first: for joins by a business key.
    pub fn values_for_lookup(&self, name: &str, value: &Value) -> Vec<Value> {
        let mut column = vec![value.clone()];
        match (self.compiled.as_deref(), canonical(value)) {
            (Some(compiled), Some(text)) if compiled.hash.matches(name) => {
                let keys = 0..compiled.keys.len();
                keys.map(|key| Value::Text(compiled.keys.hash(key, &text))).collect()
            }
            _ => {
                self.apply_to_values(name, &mut column);
                column
            }
        }
    }

    /// Changes a label into what may be kept of it; of an object the members are taken for columns.
    pub fn apply_to_label(&self, label: &mut Json) {
        let Some(compiled) = self.compiled.as_deref() else { return };
        match label {
            Json::Object(members) => {
                members.retain(|name, _| !compiled.drop.matches(name));
                for (name, member) in members {
                    let mut values = [scalar(member)];
                    self.apply_to_values(name, &mut values);
                    if let [Value::Text(text)] = values {
                        *member = Json::String(text);
                    }
                }
            }
            Json::String(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            _ => {}
        }
    }

    /// Whether the column `name` is left out.
    pub fn drops(&self, name: &str) -> bool {
        self.compiled.as_deref().is_some_and(|compiled| compiled.drop.matches(name))
    }

    /// Whether values of the column `name` are looked at: hashed, or under a mask.
    pub fn touches(&self, name: &str) -> bool {
        self.compiled.as_deref().is_some_and(|compiled| {
            compiled.hash.matches(name) || compiled.masks.iter().any(|mask| mask.covers(name))
        })
    }

    /// Whether the values of the column `name` are hashed; such a column is categorical.
    pub fn hashes(&self, name: &str) -> bool {
        self.compiled
            .as_deref()
            .is_some_and(|compiled| compiled.hash.matches(name) && !compiled.drop.matches(name))
    }

    /// The same policy for traffic that is counted on `layout`: a hashed column whose categories were made with an older
    /// key goes on with that key until there is a new baseline, as after a rotation every value would be an unseen one.
    #[must_use]
    pub fn bound_to(&self, layout: &Layout) -> Self {
        let Some(compiled) = self.compiled.as_deref() else { return self.clone() };
        let bound = layout
            .columns()
            .iter()
            .filter(|column| self.hashes(&column.name))
            .filter_map(|column| {
                let made_with = categories(column).find_map(|name| compiled.keys.key_of(name));
                made_with.map(|key| (column.name.clone(), key))
            })
            .chain(layout.segmented_by().iter().filter(|column| self.hashes(column.name())).filter_map(
                |column| {
                    let made_with = column.values().iter().find_map(|value| compiled.keys.key_of(value));
                    made_with.map(|key| (column.name().to_owned(), key))
                },
            ))
            .collect();
        Self { compiled: self.compiled.clone(), bound }
    }

    /// What in a baseline of these columns does not go with the policy, each in a sentence: it was built before the policy
    /// or with other keys, and has to be built again.
    pub fn misfits(&self, layout: &Layout) -> Vec<String> {
        let Some(compiled) = self.compiled.as_deref() else { return Vec::new() };
        let rebuild = "build the baseline again with these settings";
        let of_column = |column: &ColumnLayout| {
            let name = &column.name;
            if self.drops(name) {
                return Some(format!("`{name}` is dropped, so all of its values will be missing; {rebuild}"));
            }
            if !self.hashes(name) {
                return None;
            }
            if column.kind != FeatureKind::Categorical {
                let kind = column.kind.as_str();
                return Some(format!("`{name}` is hashed, but {kind} in the baseline; {rebuild}"));
            }
            let mut made_with = categories(column).map(|category| compiled.keys.key_of(category)).peekable();
            if made_with.peek().is_some() && made_with.all(|key| key.is_none()) {
                return Some(format!(
                    "`{name}` is hashed, but the baseline's values were not, or with a key that is not in `key_file`; {rebuild}"
                ));
            }
            None
        };
        let segments = layout.segmented_by().iter().filter_map(|column| {
            let mut made_with = column.values().iter().map(|value| compiled.keys.key_of(value)).peekable();
            let unhashed = self.hashes(column.name())
                && made_with.peek().is_some()
                && made_with.all(|key| key.is_none());
            unhashed.then(|| {
                let name = column.name();
                format!("`{name}` is hashed, but the segments of the baseline were not, so all of its rows are `(other)`; {rebuild}")
            })
        });
        layout.columns().iter().filter_map(of_column).chain(segments).collect()
    }
}

/// The policies of all models.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    by_model: HashMap<ModelName, Arc<Policy>>,
    other: Arc<Policy>,
}

impl Policies {
    /// The policies of these models, and the one of every other.
    pub fn new(by_model: impl IntoIterator<Item = (ModelName, Policy)>, other: Policy) -> Self {
        let by_model = by_model.into_iter().map(|(model, policy)| (model, Arc::new(policy))).collect();
        Self { by_model, other: Arc::new(other) }
    }

    /// The policy that is said for all models.
    pub fn of_all(&self) -> &Arc<Policy> {
        &self.other
    }

    /// The policy of `model`.
    pub fn of(&self, model: &ModelName) -> &Arc<Policy> {
        self.by_model.get(model).unwrap_or(&self.other)
    }
}

/// The categories of a column that have a cell of their own.
fn categories(column: &ColumnLayout) -> impl Iterator<Item = &str> {
    let top = match &column.cut {
        Cut::Categories(categories) => categories.top(),
        Cut::Grid(_) => &[],
    };
    top.iter().map(String::as_str)
}

/// The text that stands for a value whatever format it came in; `None` for what says nothing about anybody.
fn canonical(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        // Adding zero takes the sign of a negative one.
        Value::Number(number) if number.is_finite() => Some(Cow::Owned(format!("{}", number + 0.0))),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Number(_) | Value::Missing | Value::Opaque => None,
    }
}

fn scalar(json: &Json) -> Value {
    match json {
        Json::Null => Value::Missing,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number.as_f64().map_or(Value::Opaque, Value::Number),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(_) | Json::Object(_) => Value::Opaque,
    }
}

/// The exchange and the row in an id of a row.
fn split_row(id: &str) -> Option<(&str, &str)> {
    let row = &id[id.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
    // Written as a row is: `_07` is none.
    let is_row = row == "0" || (!row.is_empty() && !row.starts_with('0') && row.len() <= 6);
    let rest = &id[..id.len() - row.len()];
    let before = rest.strip_suffix("-item-").or_else(|| rest.strip_suffix(['_', ':']))?;
    (is_row && !before.is_empty()).then_some((before, row))
}

#[cfg(test)]
mod tests;
