//! Policies on whole exchanges: what goes, what is replaced, what labels find again.

use std::sync::LazyLock;

use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::model::{Batch, ModelName, Role};
use crate::profile::{Categories, Others, SegmentedColumn};

const OLD: &str = "the key of last year, long enough";
const NEW: &str = "the key of this year, long enough";

fn keys(lines: &[&str]) -> Keys {
    Keys::parse(&lines.join("\n")).unwrap()
}

fn rules() -> Rules {
    Rules {
        drop: vec!["name".into(), "secret_*".into()],
        hash: vec!["customer".into()],
        mask: ["email", "phone", "card"].map(MaskRule::built_in).to_vec(),
        ids: Ids::Keep,
    }
}

fn policy(rules: &Rules, lines: &[&str]) -> Policy {
    Policy::new(rules, Some(&keys(lines)), b"").unwrap()
}

fn column(name: &str, values: impl IntoIterator<Item = Value>) -> Column {
    Column { name: name.into(), values: values.into_iter().collect() }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn exchange(id: &str, features: Vec<Column>) -> Exchange {
    let rows = features.first().map_or(0, |column| column.values.len());
    Exchange {
        id: id.into(),
        model: ModelName::parse("m").unwrap(),
        model_version: None,
        event_time: DateTime::UNIX_EPOCH,
        batch: Batch { rows, features, outputs: Vec::new() },
        other_ids: Vec::new(),
    }
}

#[test]
fn every_place_of_an_exchange_is_looked_at() {
    let policy = policy(&rules(), &[NEW]);
    let mut seen = exchange(
        "ann@example.com-7",
        vec![
            column("user.name", [text("Ann")]),
            column("secret_plan", [Value::Number(7.0)]),
            column("order.customer[0]", [Value::Number(4711.0)]),
            column("note", [text("mail ann@example.com, +49 30 1234567")]),
            column("amount", [Value::Number(12.5)]),
            column("card", [Value::Number(4_111_111_111_111_111.0)]),
            column("scores.ann@example.com", [Value::Number(1.0)]),
            column("scores.bob@example.com", [Value::Number(2.0)]),
        ],
    );
    seen.model_version = Some("3 by ann@example.com".into());
    seen.batch.outputs = vec![column("reply", [text("Dear ann@example.com")]), column("name", [text("Ann")])];
    let before = seen.clone();
    policy.apply(&mut seen);
    let shown = format!("{seen:?}");
    for secret in ["Ann", "ann@", "bob@", "4711.0", "1234567", "4111", "secret_plan"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let names: Vec<_> = seen.batch.features.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["order.customer[0]", "note", "amount", "card", "[email]", "[email]#2"]);
    assert_eq!(seen.batch.features[1].values, [text("mail [email], [phone]")]);
    assert_eq!(seen.batch.features[2].values, [Value::Number(12.5)]);
    assert_eq!(seen.batch.features[3].values, [text("[card]")]);
    assert_eq!(seen.batch.outputs, [column("reply", [text("Dear [email]")])]);
    assert_eq!(seen.model_version.as_deref(), Some("3 by [email]"));
    let again = {
        let mut again = seen.clone();
        policy.apply(&mut again);
        again
    };
    assert_eq!(again, seen, "twice is as good as once");
    let mut untouched = before.clone();
    Policy::default().apply(&mut untouched);
    assert_eq!(untouched, before);
}

#[test]
fn one_value_has_one_hash_whatever_its_format() {
    let policy = policy(&rules(), &[NEW]);
    let values =
        [Value::Number(42.0), text("42"), Value::Number(-0.0), text("0"), Value::Bool(true), text("true")];
    let mut columns = vec![column("customer", values)];
    policy.apply_to_columns(&mut columns);
    let hashed = &columns[0].values;
    for pair in hashed.chunks(2) {
        assert_eq!(pair[0], pair[1]);
        assert!(matches!(&pair[0], Value::Text(text) if text.starts_with("h1:")), "{pair:?}");
    }
    assert!(hashed[0] != hashed[2] && hashed[2] != hashed[4]);
    let mut odd = vec![column("customer", [Value::Missing, Value::Number(f64::NAN), Value::Opaque])];
    policy.apply_to_columns(&mut odd);
    assert!(matches!(odd[0].values[..], [Value::Missing, Value::Number(_), Value::Opaque]), "{odd:?}");
}

#[test]
fn labels_find_rows_of_every_key() {
    let hashing = Rules { ids: Ids::Hash, ..rules() };
    let old = policy(&hashing, &[OLD]);
    let rotated = policy(&hashing, &[NEW, OLD]);
    let kept = |policy: &Policy, id: &str, rows: usize, row: usize| {
        let mut seen = exchange(id, vec![column("a", (0..rows).map(|_| Value::Missing))]);
        policy.apply(&mut seen);
        seen.row_id(row)
    };
    for (id, rows, row, asked) in [
        ("p1", 1, 0, "p1"),
        ("p1", 3, 2, "p1_2"),
        ("p1", 3, 2, "p1:2"),
        ("p1", 3, 2, "p1-item-2"),
        ("p_7", 1, 0, "p_7"),
    ] {
        let found = rotated.ids_for_lookup(asked);
        for policy in [&old, &rotated] {
            let kept = kept(policy, id, rows, row);
            assert!(found.contains(&kept), "{asked} as {kept} in {found:?}");
            assert!(!kept.contains("p1") && !kept.contains("p_7"), "{kept}");
        }
    }
    assert_eq!(rotated.ids_for_lookup("p1")[0], rotated.id("p1"), "the newest key first");
    let values = rotated.values_for_lookup("customer", &Value::Number(42.0));
    let mut columns = vec![column("customer", [text("42")])];
    old.apply_to_columns(&mut columns);
    assert_eq!(values.len(), 2);
    assert_eq!(values[1], columns[0].values[0]);
    assert_eq!(rotated.values_for_lookup("mail", &text("a@b.org")), [text("[email]")]);
    assert_eq!(Policy::default().ids_for_lookup("p1_2"), ["p1_2"]);
}

#[test]
fn an_id_that_names_somebody_is_hashed_and_stays_itself() {
    let masking = Rules { hash: Vec::new(), ..rules() };
    let of_process = |secret: &[u8]| Policy::new(&masking, None, secret).unwrap();
    let policy = of_process(b"drawn at start, as random as can be");
    assert_eq!(policy.id("p1"), "p1");
    let (ann, bob) = (policy.id("ann@example.com"), policy.id("bob@example.com"));
    assert!(ann.starts_with("h1:") && ann != bob && policy.id(&ann) == ann);
    assert!(policy.ids_for_lookup("ann@example.com_4").contains(&format!("{ann}_4")));
    assert_ne!(of_process(b"of another process, also random").id("ann@example.com"), ann);
}

#[test]
fn a_baseline_of_an_older_key_keeps_its_categories() {
    let old = policy(&rules(), &[OLD]);
    let mut columns = vec![column("customer", [text("ann"), text("bob")])];
    old.apply_to_columns(&mut columns);
    let names = |values: &[Value]| -> Vec<String> {
        values
            .iter()
            .filter_map(|value| if let Value::Text(text) = value { Some(text.clone()) } else { None })
            .collect()
    };
    let layout = |name: &str, kind, top: Vec<String>| {
        let cut = Cut::Categories(Categories::new(top, Others::Names(std::collections::BTreeSet::new())));
        Layout::new(vec![ColumnLayout { name: name.into(), role: Role::Feature, kind, cut, range: None }])
    };
    let baseline = layout("customer", FeatureKind::Categorical, names(&columns[0].values));
    let rotated = policy(&rules(), &[NEW, OLD]);
    assert_eq!(rotated.misfits(&baseline), Vec::<String>::new());
    let mut traffic =
        vec![column("customer", [text("ann"), text("bob")]), column("other.customer", [text("ann")])];
    rotated.bound_to(&baseline).apply_to_columns(&mut traffic);
    assert_eq!(traffic[0], columns[0]);
    assert_ne!(traffic[1].values[0], columns[0].values[0], "only the baseline's column stays with its key");
    // Without the old key it cannot be helped, and is said.
    let lost = policy(&rules(), &[NEW]);
    assert!(lost.misfits(&baseline)[0].contains("not in `key_file`"), "{:?}", lost.misfits(&baseline));
    // A column that is only segmented by is told by the values of its segments.
    let by = |values: &[String]| {
        let column = SegmentedColumn::new("customer", FeatureKind::Categorical, values);
        layout("x", FeatureKind::Boolean, Vec::new()).with_segments(vec![column])
    };
    let segmented = by(&names(&columns[0].values));
    assert_eq!(rotated.misfits(&segmented), Vec::<String>::new());
    let mut traffic = vec![column("customer", [text("ann"), text("bob")])];
    rotated.bound_to(&segmented).apply_to_columns(&mut traffic);
    assert_eq!(traffic[0], columns[0]);
    assert!(lost.misfits(&by(&["ann".into()]))[0].contains("all of its rows are `(other)`"));
    let raw = layout("customer", FeatureKind::Categorical, vec!["ann".into()]);
    assert!(lost.misfits(&raw)[0].contains("build the baseline again"));
    let numeric = layout("customer", FeatureKind::Boolean, Vec::new());
    assert!(lost.misfits(&numeric)[0].contains("boolean in the baseline"));
    let dropped = layout("secret_plan", FeatureKind::Categorical, Vec::new());
    assert!(lost.misfits(&dropped)[0].contains("is dropped"));
}

#[test]
fn labels_are_masked_like_columns() {
    let policy = policy(&rules(), &[NEW]);
    let mut label = serde_json::json!({"name": "Ann", "customer": 42, "mail": "ann@example.com", "y": 1.5});
    policy.apply_to_label(&mut label);
    let hash = policy.values_for_lookup("customer", &Value::Number(42.0));
    assert_eq!(label["customer"].as_str().map(text), Some(hash[0].clone()));
    assert_eq!(
        (&label["mail"], &label["y"], label.get("name")),
        (&serde_json::json!("[email]"), &serde_json::json!(1.5), None)
    );
    let mut plain = serde_json::json!("to ann@example.com");
    policy.apply_to_label(&mut plain);
    assert_eq!(plain, "to [email]");
}

#[test]
fn rules_without_a_key_or_sense_are_refused() {
    let said = Policy::new(&rules(), None, b"").unwrap_err();
    assert!(said[0].contains("key_file"), "{said:?}");
    let both = Rules { hash: vec!["NAME ".into(), " ".into()], ..rules() };
    let said = Policy::new(&both, Some(&keys(&[NEW])), b"").unwrap_err();
    assert_eq!(said.len(), 2, "{said:?}");
}

static ROTATED: LazyLock<Policy> =
    LazyLock::new(|| policy(&Rules { ids: Ids::Hash, ..rules() }, &[NEW, OLD]));

proptest! {
    #[test]
    fn any_columns_are_changed_once_and_for_all(
        names in proptest::collection::vec("[a-z.@\\[\\]0-9]{0,12}", 1..6),
        values in proptest::collection::vec(".{0,30}", 1..4),
        number in any::<f64>(),
    ) {
        let policy = &*ROTATED;
        let columns = names.iter().map(|name| {
            column(name, values.iter().map(|value| text(value)).chain([Value::Number(number)]))
        });
        let mut once = exchange("id", columns.collect());
        policy.apply(&mut once);
        let mut twice = once.clone();
        policy.apply(&mut twice);
        // Written out, as NaN is not equal to itself.
        let (once_text, twice_text) = (format!("{once:?}"), format!("{twice:?}"));
        prop_assert_eq!(twice_text, once_text);
        prop_assert!(once.batch.features.iter().all(|column| column.values.len() == values.len() + 1));
    }

    #[test]
    fn any_id_is_found_again(id in ".{1,40}", row in 0..100_000_usize, rows in 1..3_usize) {
        let policy = &*ROTATED;
        let mut seen = exchange(&id, vec![column("a", (0..rows).map(|_| Value::Missing))]);
        let raw = seen.row_id(row);
        policy.apply(&mut seen);
        prop_assert!(policy.ids_for_lookup(&raw).contains(&seen.row_id(row)));
    }
}
