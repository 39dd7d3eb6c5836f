//! Which columns are compared, as what, and what is said about the others.

use anyhow::bail;

use super::Arguments;
use crate::frames::{Holds, Source};
use crate::model::{FeatureKind, Role};
use crate::privacy::Policy;

/// A column that both sides have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) kind: FeatureKind,
}

/// What is to be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// In the order of the reference.
    pub(super) columns: Vec<Compared>,
    pub(super) only_in_reference: Vec<String>,
    pub(super) only_in_current: Vec<String>,
    /// Columns that hold times and are compared as names.
    pub(super) times: Vec<String>,
    /// Columns that hold one kind in the reference and another in the current data, with both.
    pub(super) two_kinds: Vec<(String, Holds, Holds)>,
}

impl Plan {
    /// Decides on the columns.
    ///
    /// # Errors
    ///
    /// Columns named that do not exist, columns of one side only, columns that hold no scalars: all at once.
    pub(super) fn make(
        arguments: &Arguments,
        policy: &Policy,
        reference: &Source,
        current: &Source,
    ) -> anyhow::Result<Self> {
        let has = |source: &Source, name: &str| source.columns().iter().any(|column| column.name == name);
        let mentioned = arguments.exclude.iter().chain(&arguments.only).chain(&arguments.output);
        for name in mentioned.chain(arguments.kind.iter().map(|(name, _)| name)) {
            if !has(reference, name) && !has(current, name) {
                reference.column(name)?;
            }
        }
        if let Some(name) = &arguments.time {
            reference.column(name)?;
        }
        let wanted = |name: &str| {
            let is = |named: &String| named == name;
            !arguments.exclude.iter().any(is)
                && (arguments.only.is_empty() || arguments.only.iter().any(is))
                && arguments.time.as_deref() != Some(name)
                && !policy.drops(name)
        };
        let extras = |of: &Source, versus: &Source| -> Vec<String> {
            let names = of.columns().iter().map(|column| column.name.clone());
            names.filter(|name| wanted(name) && !has(versus, name)).collect()
        };
        let mut plan = Self {
            only_in_reference: extras(reference, current),
            only_in_current: extras(current, reference),
            ..Self::default()
        };
        let same = plan.only_in_reference.is_empty() && plan.only_in_current.is_empty();
        if !arguments.allow_missing && !same {
            bail!("the two sides have different columns\n{}", plan.extras(reference, current));
        }
        let mut not_scalar = Vec::new();
        for column in reference.columns().iter().filter(|column| wanted(&column.name)) {
            let name = &column.name;
            let Some(other) = current.columns().iter().find(|other| other.name == *name) else { continue };
            for (source, holds) in [(reference, &column.holds), (current, &other.holds)] {
                if let Holds::NotScalar(what) = holds {
                    not_scalar.push((
                        name.clone(),
                        format!("column `{name}` of `{}` holds {what}", source.label()),
                    ));
                }
            }
            let hashed = policy.hashes(name).then_some(FeatureKind::Categorical);
            let stated = arguments.kind.iter().find(|(stated, _)| stated == name).map(|(_, kind)| *kind);
            let stated = hashed.or(stated);
            let inferred = column.holds.kind().or_else(|| other.holds.kind());
            if stated.is_none() && column.holds == Holds::Times {
                plan.times.push(name.clone());
            }
            if stated.is_none()
                && let (Some(one), Some(two)) = (column.holds.kind(), other.holds.kind())
                && one != two
            {
                plan.two_kinds.push((name.clone(), column.holds.clone(), other.holds.clone()));
            }
            plan.columns.push(Compared {
                name: name.clone(),
                role: if arguments.output.contains(name) { Role::Output } else { Role::Feature },
                // A column that is empty on both sides is compared by what is missing, whatever its kind.
                kind: stated.or(inferred).unwrap_or(FeatureKind::Numeric),
            });
        }
        if !not_scalar.is_empty() {
            let (mut names, said): (Vec<String>, Vec<String>) = not_scalar.into_iter().unzip();
            names.dedup();
            bail!(
                "{}; leave out what cannot be compared with `--exclude {}`",
                said.join("; "),
                names.join(",")
            );
        }
        if plan.columns.is_empty() {
            bail!("`{}` and `{}` have no column to compare", reference.label(), current.label());
        }
        Ok(plan)
    }

    fn extras(&self, reference: &Source, current: &Source) -> String {
        let mut lines = Vec::new();
        for (source, extras) in [(reference, &self.only_in_reference), (current, &self.only_in_current)] {
            if !extras.is_empty() {
                lines.push(format!("  only in `{}`: {}", source.label(), extras.join(", ")));
            }
        }
        lines.push("hint: `--allow-missing` compares the columns that both have".to_owned());
        lines.join("\n")
    }
}
