//! Annotation texts with `{{name}}` placeholders, checked when the rule is loaded.

use super::vocabulary::{Fact, ForEach, Names, Subject, variable_named};

/// A text whose placeholders are known to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// Reads `text`; every placeholder has to name a variable of `for_each`.
    ///
    /// # Errors
    ///
    /// What is wrong with the first wrong placeholder.
    pub fn parse(text: &str, for_each: ForEach) -> Result<Self, String> {
        Self::parse_with(text, Names::Window(for_each))
    }

    /// Reads `text`, whose placeholders are among `names`.
    pub(super) fn parse_with(text: &str, names: Names) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) =
                after.split_once("}}").ok_or("expected `}}` after `{{` and a name".to_owned())?;
            let name = name.trim();
            variable_named(names, name)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Name(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text for one subject; a value that does not apply reads `n/a`.
    pub(super) fn render<'a>(&self, subject: impl Into<Subject<'a>>) -> String {
        let subject = subject.into();
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Name(name) => match subject.fact(name) {
                    Some(Fact::Number(number)) => number_text(number),
                    Some(Fact::Text(text)) => text.to_owned(),
                    Some(Fact::Truth(truth)) => truth.to_string(),
                    None => "n/a".to_owned(),
                },
            })
            .collect()
    }
}

/// A number for people: whole numbers as they are, others with three significant digits.
pub fn number_text(number: f64) -> String {
    let size = number.abs();
    if !number.is_finite() {
        "n/a".to_owned()
    } else if size < f64::MIN_POSITIVE {
        "0".to_owned()
    } else if !(1e-4..1e9).contains(&size) {
        format!("{number:.1e}")
    } else if size >= 100.0 || (size >= 1.0 && number.fract().abs() < f64::EPSILON) {
        format!("{number:.0}")
    } else if size >= 10.0 {
        format!("{number:.1}")
    } else if size >= 0.1 {
        format!("{number:.2}")
    } else {
        format!("{number:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::example;
    use crate::alert::vocabulary::Scope;

    #[test]
    fn placeholders_are_filled() {
        let report = example::report(&[("temp", 0.314), ("hum", f64::NAN)]);
        let scope =
            |index: usize| Scope { report: &report, column: Some(&report.features[index]), segment: None };
        let template =
            Template::parse("{{feature}}: PSI {{ psi }} of {{n}}, χ² {{chi2}}{", ForEach::Feature).unwrap();
        assert_eq!(template.render(scope(0)), "temp: PSI 0.31 of 1000, χ² n/a{");
        assert_eq!(template.render(scope(1)), "hum: PSI n/a of 1000, χ² n/a{");
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for (text, expected) in [
            ("{{psy}}", "unknown name `psy`, did you mean `psi`?"),
            ("{{psi", "expected `}}`"),
            ("{{}}", "unknown name ``"),
            ("{{drifted}}", "only for `for_each: model`"),
        ] {
            let problem = Template::parse(text, ForEach::Feature).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
        assert!(Template::parse("{{psi}}", ForEach::Model).unwrap_err().contains("feature"));
    }

    #[test]
    fn numbers_are_short() {
        for (number, expected) in [
            (0.0, "0"),
            (5.0, "5"),
            (1234.5, "1234"),
            (0.314_159, "0.31"),
            (0.012_345, "0.0123"),
            (1e-79, "1.0e-79"),
            (45.25, "45.2"),
            (-0.5, "-0.50"),
        ] {
            assert_eq!(number_text(number), expected);
        }
    }
}
