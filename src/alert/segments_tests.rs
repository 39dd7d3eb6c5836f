//! Rules over segments: one alert for each, with the names of the segment and of its strongest column.

use uuid::Uuid;

use super::example::{self, report_at, segment};
use super::{Evaluation, RuleSet, StoredAlert, evaluate};
use crate::drift::{ComparedWith, DriftReport, SegmentReport, Verdict};
use crate::model::ModelName;

const RULES: &str = r#"
groups:
  - name: g
    rules:
      - alert: SegmentDrift
        for_each: segment
        expr: verdict == "drift" && drifted > 0 && psi > 0.1 && rows < 400 && n_reference == 4000 && loss_share < 0.5
        labels: {severity: warning}
        annotations:
          summary: "{{segment}} of {{model}}: {{feature}} PSI {{psi}}, {{drifted}} of {{features}} over {{n}} rows"
        receivers: [oncall]
      - alert: ModelDrift
        for_each: model
        expr: verdict == "drift"
        receivers: [oncall]
"#;

fn rules(text: &str) -> RuleSet {
    RuleSet::parse(&[("rules.yaml".to_owned(), text.to_owned())]).unwrap()
}

fn report(index: u32, segments: Vec<SegmentReport>) -> DriftReport {
    DriftReport { segments, ..report_at(index, &[("temp", 0.01)]) }
}

fn judge(report: &DriftReport, previous: &[StoredAlert]) -> Evaluation {
    evaluate(&rules(RULES), report, Uuid::from_u128(7), previous, report.window_end)
}

fn subjects(evaluation: &Evaluation) -> Vec<String> {
    evaluation.transitions.iter().map(|t| format!("{} {} {}>{}", t.rule, t.subject, t.from, t.to)).collect()
}

#[test]
fn each_segment_is_an_alert_of_its_own() {
    let drifted = || segment("region=eu", Verdict::Drift);
    let first = judge(&report(0, vec![drifted(), segment("region=us", Verdict::Ok)]), &[]);
    assert_eq!(subjects(&first), ["SegmentDrift region=eu inactive>firing"]);
    let told = example::told(&first.alerts, &["oncall"]);
    let [message] = told.as_slice() else { panic!("{told:?}") };
    let notice = &message.alerts[0];
    assert_eq!(
        notice.annotations["summary"],
        "region=eu of bike-demand: temp PSI 0.40, 1 of 7 over 300 rows"
    );
    assert_eq!((notice.item.subject.as_str(), notice.item.n), ("region=eu", 300));
    assert_eq!(first.alerts[0].labels["segment"], "region=eu", "routes and silences can name it");
    assert_eq!(notice.item.n_reference, 4000);
    assert_eq!(notice.item.moved[0], "1 of 7 columns drifted: temp");
    assert!(notice.item.moved[1].starts_with("temp: its mean moved up by"), "{:?}", notice.item.moved);
    assert_eq!(notice.item.bins.len(), 2);

    // A segment without rows says nothing: the alert goes on, and ends with a calm window.
    let empty =
        SegmentReport { rows: 0, features: Vec::new(), ..segment("region=eu", Verdict::InsufficientData) };
    let quiet = judge(&report(1, vec![empty]), &first.alerts);
    assert_eq!(subjects(&quiet), [""; 0]);
    let calm = judge(&report(2, vec![segment("region=eu", Verdict::Ok)]), &quiet.alerts);
    assert_eq!(subjects(&calm), ["SegmentDrift region=eu firing>resolved"]);
    // One that the baseline no longer has is over.
    let gone = judge(&report(1, vec![segment("region=us", Verdict::Ok)]), &first.alerts);
    assert_eq!(subjects(&gone), ["SegmentDrift region=eu firing>resolved"]);
}

#[test]
fn what_was_compared_with_all_rows_says_so() {
    let whole =
        SegmentReport { compared_with: ComparedWith::AllRows, ..segment("region=eu", Verdict::Drift) };
    let found = judge(&report(0, vec![whole]), &[]);
    let moved = &found.alerts[0].notice.as_ref().unwrap().item.moved;
    assert!(moved.last().unwrap().contains("compared with all rows"), "{moved:?}");
}

#[test]
fn names_that_no_segment_has_are_refused() {
    for (for_each, expr, expected) in [
        ("segment", "violations > 0", "`violations` does not exist for `for_each: segment`, only for"),
        (
            "segment",
            "schema_changes > 0",
            "`schema_changes` does not exist for `for_each: segment`, only for",
        ),
        ("segment", "segmnt == 'a'", "unknown name `segmnt`, did you mean `segment`?"),
        (
            "model",
            "segment == 'a'",
            "`segment` does not exist for `for_each: model`, only for `for_each: segment`",
        ),
        ("feature", "segment == 'a'", "only for `for_each: segment`"),
    ] {
        let text =
            format!("groups: [{{name: g, rules: [{{alert: A, for_each: {for_each}, expr: \"{expr}\"}}]}}]");
        let problems = RuleSet::parse(&[("r.yaml".to_owned(), text)]).unwrap_err();
        assert!(problems[0].to_string().contains(expected), "{expr}: {}", problems[0]);
    }
}

#[test]
fn a_rule_of_a_model_without_segments_is_refused() {
    let [m, other] = ["m", "other"].map(|name| ModelName::parse(name).unwrap());
    let of_model = rules(&RULES.replace("name: g\n", "name: g\n    model: m\n"));
    let problems = of_model.check_segments(&[(m.clone(), false), (other.clone(), true)]).unwrap_err();
    assert_eq!(problems.len(), 1);
    let problem = problems[0].to_string();
    assert!(problem.contains("needs `segments: [COLUMN]` of model `m` in the settings"), "{problem}");
    of_model.check_segments(&[(m.clone(), true)]).unwrap();
    // A rule for every model is silent where there are none.
    rules(RULES).check_segments(&[(m, false), (other, false)]).unwrap();
}
