//! Segments in the settings: what is refused, and what it says.

use crate::config::Settings;

fn read(model: &str) -> Result<Settings, String> {
    let text = format!("privacy: {{drop: [email]}}\nmodels: [{{name: m, {model}}}]");
    Settings::parse(&text, "driftline.yaml").map_err(|error| error.to_string())
}

#[test]
fn segments_name_inputs_with_categories() {
    let settings = read("segments: [region, user_id], privacy: {hash: [user_id], key_file: k}").unwrap();
    assert_eq!(settings.models[0].segments, ["region", "user_id"]);
    assert_eq!(settings.models[0].segment_values, 20);
    assert!(read("segments: [age], kinds: {age: categorical}, schema: [{name: age, kind: numeric}]").is_ok());
    assert!(read("segments: [n], kinds: {n: numeric}, privacy: {hash: [n], key_file: k}").is_err());
}

#[test]
fn what_cannot_be_a_segment_is_refused() {
    for (model, expected) in [
        ("segments: [a, b, c, d, e]", "`segments` has 5 columns, the most are 4"),
        ("segments: [a, a]", "`segments[1]`: `a` is listed twice"),
        ("segments: ['']", "`segments[0]`: expected the name of an input, found nothing"),
        ("segments: [email]", "`email` is dropped by `privacy.drop`"),
        ("segments: [user.EMAIL]", "`user.EMAIL` is dropped by `privacy.drop`"),
        ("segments: [age], kinds: {age: numeric}", "`age` is numeric, and a segment needs categories"),
        ("segments: [age], schema: [{name: age, kind: numeric}]", "say `kinds: {age: categorical}`"),
        (
            "segments: [regoin], schema: [{name: region, kind: categorical}]",
            "`regoin` is no input of `schema`, did you mean `region`?",
        ),
        (
            "segments: [y], schema: [{name: y, role: output, kind: categorical}]",
            "`y` is no input of `schema`",
        ),
        ("segment_values: 0", "`segment_values` 0 is not between 1 and 100"),
        ("segment_values: 101", "`segment_values` 101 is not between 1 and 100"),
        ("segment: [a]", "segment"),
    ] {
        let problem = read(model).unwrap_err();
        assert!(problem.contains(expected), "{model}: {problem}");
    }
}

#[test]
fn training_has_sections_whose_problems_are_named() {
    let text = "training: {task: regression, target: y, objective: {quantile: {q: 0.9}}, features: {columns: \
                [{name: a, kind: numeric}]}, limits: {threads: 2}, deep: {dropout: 0.1}}";
    let settings = read(text).unwrap();
    let training = settings.models[0].training.as_ref().unwrap();
    assert_eq!((training.limits.threads, training.features.columns.len()), (2, 1));
    for (training, expected) in [
        ("limits: {threads: 0}", "model `m`: training.limits.threads 0 is not between 1 and 1024"),
        ("objective: log_loss", "training.objective log_loss is one of classes"),
        ("objective: {quantile: {q: 1.5}}", "training.objective.quantile.q 1.5 is not between 0 and 1"),
        ("deep: {dropout: 1}", "training.deep.dropout 1 is not in [0, 1)"),
        ("deep: {drop: 1}", "drop"),
        ("export: {onyx: true}", "onyx"),
    ] {
        let problem = read(&format!("training: {{task: regression, target: y, {training}}}")).unwrap_err();
        assert!(problem.contains(expected), "{training}: {problem}");
    }
}
