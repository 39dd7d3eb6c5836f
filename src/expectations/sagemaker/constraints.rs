//! `constraints.json`: what Model Monitor held a data set to, as expectations.
//!
//! | there | here |
//! |---|---|
//! | `inferred_type` Integral, Fractional, String, Boolean | `type` integer, numeric, categorical, boolean |
//! | `datatype_check_threshold` (share that has to be of the type) | `tolerate` of `type`, 1 less that share |
//! | `completeness` | `missing: {max: …}`, 1 less that share |
//! | a column of the list (`missing_column_check`) | `required: true` |
//! | `is_non_negative` | `min: 0` |
//! | `domains` | `allowed` |
//! | `domain_content_threshold` (share that has to be known) | `tolerate` of `allowed`, 1 less that share |
//! | `distribution_constraints` | a note: drift is judged against the baseline, with a false-alarm budget |

use std::collections::BTreeSet;

use super::ImportError;
use super::json::{At, parse};
use crate::expectations::words::{exact, percent};
use crate::expectations::{
    ColumnExpectation, Expectations, ExpectedType, MAX_ALLOWED, MAX_COLUMNS, Tolerated,
};
use crate::model::ModelName;

/// Expectations from a `constraints.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedConstraints {
    /// What the file expects of each column.
    pub expectations: Expectations,
    /// What was not carried over, or carried over differently: one sentence each, for the user.
    pub notes: Vec<String>,
}

/// Thresholds that a feature may override.
#[derive(Debug, Clone, Copy)]
struct Thresholds {
    evaluate: bool,
    of_type: f64,
    of_domain: f64,
}

/// Reads a `constraints.json`. Columns are left without a role, since the file does not tell inputs from outputs.
///
/// # Errors
///
/// [`ImportError`] with the JSON path of the first field that is known and malformed.
pub fn import_constraints(text: &str, model: Option<ModelName>) -> Result<ImportedConstraints, ImportError> {
    let document = parse(text)?;
    let root = At::root(&document);
    let mut notes = Vec::new();
    let usual = Thresholds { evaluate: true, of_type: 1.0, of_domain: 1.0 };
    let config = root.get("monitoring_config")?;
    if config.is_none() {
        notes
            .push("there is no `monitoring_config`: every value has to be of its type and domain".to_owned());
    }
    let thresholds = config.as_ref().map_or(Ok(usual), |config| read_thresholds(config, usual))?;
    if !thresholds.evaluate {
        notes.push(
            "`evaluate_constraints` was Disabled: the checks were not made there, and will be made here"
                .to_owned(),
        );
    }
    for (name, share) in
        [("datatype_check_threshold", thresholds.of_type), ("domain_content_threshold", thresholds.of_domain)]
    {
        if share < 0.5 {
            notes.push(format!(
                "`{name}` {} is taken as the share of values that have to fit, so that {} may be otherwise; if you \
                 meant the opposite, correct `tolerate`",
                exact(share),
                percent(1.0 - share)
            ));
        }
    }
    if let Some(config) = &config {
        distribution(config, &mut notes)?;
    }
    let mut expectations = Expectations { model, ..Expectations::default() };
    let mut seen = BTreeSet::new();
    for feature in root.need("features")?.list(MAX_COLUMNS)? {
        let name = feature.need("name")?.text()?;
        if name.is_empty() {
            return Err(feature.problem("expected a name, found an empty text".to_owned()));
        }
        if !seen.insert(name) {
            return Err(feature.problem(format!("expected `{name}` once")));
        }
        expectations.columns.extend(column(&feature, name, thresholds, &mut notes)?);
    }
    if expectations.columns.iter().any(|column| column.missing_max.is_some_and(|max| max > 0.0)) {
        notes.push(
            "a share over its limit counts only when it is over by more than chance; write `confidence: none` to \
             compare plainly, as Model Monitor does"
                .to_owned(),
        );
    }
    notes.push("columns that are not in the baseline (`extra_column_check`) are not reported".to_owned());
    Ok(ImportedConstraints { expectations, notes })
}

fn read_thresholds(config: &At<'_>, usual: Thresholds) -> Result<Thresholds, ImportError> {
    let share = |key: &str, usual: f64| match config.get(key)? {
        Some(at) => at.share(),
        None => Ok(usual),
    };
    Ok(Thresholds {
        evaluate: config.get("evaluate_constraints")?.map_or(Ok(usual.evaluate), |at| at.enabled())?,
        of_type: share("datatype_check_threshold", usual.of_type)?,
        of_domain: share("domain_content_threshold", usual.of_domain)?,
    })
}

fn distribution(config: &At<'_>, notes: &mut Vec<String>) -> Result<(), ImportError> {
    let Some(limits) = config.get("distribution_constraints")? else { return Ok(()) };
    if !limits.get("perform_comparison")?.map_or(Ok(true), |at| at.enabled())? {
        return Ok(());
    }
    if let Some(threshold) = limits.get("comparison_threshold")? {
        notes.push(format!(
            "`comparison_threshold` {} is not carried over: drift is judged against the baseline within a false-alarm \
             budget; a rule with `expr: ks > {0}` keeps the old limit",
            exact(threshold.number()?)
        ));
    }
    if let Some(threshold) = limits.get("categorical_comparison_threshold")? {
        notes.push(format!(
            "`categorical_comparison_threshold` {} is not carried over; a rule with `expr: linf > {0}` keeps it",
            exact(threshold.number()?)
        ));
    }
    Ok(())
}

fn column(
    feature: &At<'_>,
    name: &str,
    thresholds: Thresholds,
    notes: &mut Vec<String>,
) -> Result<Option<ColumnExpectation>, ImportError> {
    let thresholds = match feature.get("monitoringConfigOverrides")? {
        Some(config) => {
            let own = read_thresholds(&config, thresholds)?;
            if own.evaluate != thresholds.evaluate && !own.evaluate {
                notes
                    .push(format!("`{name}`: `evaluate_constraints` was Disabled for it, so it is left out"));
                return Ok(None);
            }
            if config.has("distribution_constraints") {
                notes.push(format!("`{name}`: its own `distribution_constraints` are not carried over"));
            }
            own
        }
        None => thresholds,
    };
    let mut column = ColumnExpectation { required: true, ..ColumnExpectation::new(name, None) };
    // The remainder of 0.98 is 0.02, and not 0.020000000000000018.
    let rest = |share: f64| ((1.0 - share) * 1e12).round() / 1e12;
    let inferred = feature.get("inferred_type")?.map(|at| at.text()).transpose()?;
    let expected = match inferred {
        Some("Integral") => Some(ExpectedType::Integer),
        Some("Fractional") => Some(ExpectedType::Numeric),
        Some("String") => Some(ExpectedType::Categorical),
        Some("Boolean") => Some(ExpectedType::Boolean),
        Some("Unknown") | None => None,
        Some(other) => {
            notes.push(format!("`{name}`: the type `{other}` is not known; its type is not checked"));
            None
        }
    };
    let of_type = rest(thresholds.of_type);
    if of_type < 1.0 {
        column.expected_type = expected.map(|value| Tolerated { value, tolerate: of_type });
    }
    if let Some(completeness) = feature.get("completeness")? {
        column.missing_max = Some(rest(completeness.share()?));
    }
    let text = matches!(expected, Some(ExpectedType::Categorical | ExpectedType::Boolean));
    if let Some(limits) = feature.get("num_constraints")? {
        let non_negative = limits.get("is_non_negative")?.map_or(Ok(false), |at| at.truth())?;
        if non_negative && text {
            notes.push(format!("`{name}`: `is_non_negative` does not fit its type and is left out"));
        } else if non_negative {
            column.min = Some(Tolerated::strictly(0.0));
        }
    }
    if let Some(limits) = feature.get("string_constraints")?
        && let Some(domains) = limits.get("domains")?
    {
        let values = domains
            .list(MAX_ALLOWED)?
            .map(|at| Ok(at.text()?.to_owned()))
            .collect::<Result<BTreeSet<_>, ImportError>>()?;
        let of_domain = rest(thresholds.of_domain);
        if expected.is_some() && !text {
            notes.push(format!("`{name}`: `domains` do not fit its type and are left out"));
        } else if expected == Some(ExpectedType::Boolean)
            && values.iter().any(|value| value != "true" && value != "false")
        {
            notes.push(format!("`{name}`: its `domains` are not truth values and are left out"));
        } else if !values.is_empty() && of_domain < 1.0 {
            column.allowed = Some(Tolerated { value: values, tolerate: of_domain });
        }
    }
    Ok(Some(column))
}
