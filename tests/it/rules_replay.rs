//! Rules over stored reports: the rules in force give what was stored, others say what they would have done.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::RuleSet;
use driftline::alert::replay::Replay;
use driftline::app;
use driftline::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::drift::Losses;
use driftline::metrics::Metrics;
use driftline::model::{Batch, Column, ModelName, Role, Value};
use driftline::profile::{Profile, encode};
use driftline::schema::Seen;
use driftline::store::profile_part::{ProfilePart, TapPart, upsert_profiles, upsert_taps};
use driftline::store::{self, PgPool};
use driftline::tasks::Evaluator;
use serde_json::{Value as Json, json};
use tokio::process::Command;
use tokio::sync::Notify;

use crate::support;

const RULES: &str = r#"
groups:
- name: g
  rules:
  - alert: Drift
    for_each: feature
    expr: verdict == "drift"
    for: 2w
    keep_firing_for: 1w
    annotations: {summary: "{{feature}} has PSI {{psi}}"}
    retrain: {mode: auto, cooldown: 0s, budget: 100 per 1d, min_labels: 1}
  - {alert: Strong, for_each: feature, expr: psi > 2 && n > 0}
  - {alert: Both, for_each: model, expr: drifted >= 2, for: 3h}
  - {alert: Few, for_each: model, expr: verdict == "insufficient_data"}
"#;

/// Windows of an hour that are judged; one more follows, so that the last of these is complete.
const WINDOWS: u32 = 60;

fn model() -> ModelName {
    ModelName::parse("bike-demand").unwrap()
}

fn begin() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

fn reference() -> Baseline {
    let values: Vec<Value> = (0..2000_u32).map(|row| Value::Number(f64::from(row * 7 % 101))).collect();
    let column = |name| SourceColumn { name, role: Role::Feature, kind: None, values: &values };
    let options =
        BuildOptions { model: model(), source: "reference".into(), cut: CutOptions::default(), joint: false };
    baseline::build(&[column("temp"), column("hum")], None, options).unwrap()
}

/// What an hour was like: rows, and how far each column moved. From a fixed sequence, in runs of some hours.
fn hour(window: u32) -> (u32, [u32; 2]) {
    let mixed = |seed: u32| (window / 3 * 7 + window % 3 / 2 + seed).wrapping_mul(2_654_435_761) >> 16;
    let moved = |seed| [0, 0, 15, 60][usize::try_from(mixed(seed) % 4).unwrap()];
    let rows = if mixed(5) % 7 == 0 { 20 } else { 200 };
    (rows, [moved(1), moved(2)])
}

async fn fill(pool: &PgPool, baseline: &Baseline) {
    let parts: Vec<ProfilePart> = (0..=WINDOWS)
        .map(|window| {
            let (rows, moved) = hour(window);
            let column = |name: &str, moved: u32| Column {
                name: name.into(),
                values: (0..rows).map(|row| Value::Number(f64::from(row * 7 % 101 + moved))).collect(),
            };
            let features = vec![column("temp", moved[0]), column("hum", moved[1])];
            let batch = Batch { rows: usize::try_from(rows).unwrap(), features, outputs: Vec::new() };
            let mut profile = Profile::empty(baseline.layout());
            profile.record(baseline.layout(), &batch);
            ProfilePart {
                model: model(),
                model_version: String::new(),
                baseline: baseline.version().to_owned(),
                // Later than the lateness of the window before.
                segment: String::new(),
                minute: begin() + TimeDelta::hours(i64::from(window)) + TimeDelta::minutes(5),
                replica: "r".into(),
                part: 0,
                rows: u64::from(rows),
                content: encode(&profile),
                seen: Seen::default(),
            }
        })
        .collect();
    upsert_profiles(pool, &parts).await.unwrap();
    let taps: Vec<TapPart> = parts
        .into_iter()
        .map(|part| TapPart {
            model: part.model,
            minute: part.minute,
            replica: part.replica,
            part: part.part,
            losses: Losses { seen: part.rows, kept: part.rows, ..Losses::default() },
            traffic: None,
        })
        .collect();
    upsert_taps(pool, &taps).await.unwrap();
}

/// Judges all windows as the sidecar does, under the settings of `folder`.
async fn judged(folder: &Path) -> (PgPool, Settings) {
    let (pool, url) = support::database_with_url().await;
    let text = format!(
        "database: {{url: '{url}'}}\nrules: [rules.yaml]\nreceivers: {{oncall: {{webhook: {{url: 'https://hooks.example.com/x'}}}}}}\n\
         models:\n- {{name: bike-demand, min_rows: 100, training: {{task: regression, target: y}}}}\n"
    );
    std::fs::write(folder.join("driftline.yaml"), &text).unwrap();
    std::fs::write(folder.join("rules.yaml"), RULES).unwrap();
    let mut settings = Settings::parse(&text, "driftline.yaml").unwrap();
    settings.resolve_paths(folder);
    let baseline = reference();
    app::register_baseline(&pool, &baseline).await.unwrap();
    fill(&pool, &baseline).await;
    let (_, rules) = tokio::sync::watch::channel(Arc::new(app::load_rules(&settings).unwrap()));
    let wake = Arc::new(Notify::new());
    let metrics = Metrics::new().unwrap();
    let evaluator = Evaluator::new(pool.clone(), Arc::new(settings.clone()), rules, metrics, wake, app::now);
    let windows = evaluator.evaluate_due(&settings.models[0]).await.unwrap();
    assert_eq!(windows, usize::try_from(WINDOWS).unwrap());
    (pool, settings)
}

/// Changes of state as they are stored, in an order of their own.
async fn stored(pool: &PgPool) -> Vec<Json> {
    let rows = store::alert::transitions(pool, Some(&model()), 100_000).await.unwrap();
    let rows = rows
        .into_iter()
        .map(|row| json!([row.at, row.rule, row.subject, row.from, row.to, row.report, row.evidence]));
    sorted(rows.collect())
}

fn sorted(mut rows: Vec<Json>) -> Vec<Json> {
    rows.sort_by_key(|row| [row[0].to_string(), row[1].to_string(), row[2].to_string()]);
    rows
}

/// Changes of state when `rules` are replayed over all reports.
async fn replayed(pool: &PgPool, rules: &RuleSet) -> Vec<Json> {
    let ids = store::history::reports(pool, &model(), DateTime::UNIX_EPOCH).await.unwrap();
    assert_eq!(ids.len(), usize::try_from(WINDOWS).unwrap());
    let mut replay = Replay::new(rules);
    let mut rows = Vec::new();
    for (id, report, judged_at) in store::history::read(pool, &ids).await.unwrap() {
        let evaluation = replay.window(&report, id, judged_at);
        rows.extend(
            evaluation
                .transitions
                .into_iter()
                .map(|t| json!([t.at, t.rule, t.subject, t.from, t.to, t.report, t.evidence])),
        );
    }
    sorted(rows)
}

/// Runs `driftline rules` in `folder`: exit status, what it printed, what it noted.
async fn rules(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .arg("rules")
        .args(arguments)
        .current_dir(folder)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

#[tokio::test]
async fn the_rules_in_force_replay_to_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (pool, settings) = judged(folder.path()).await;
    let in_force = app::load_rules(&settings).unwrap();
    let stored = stored(&pool).await;
    let fired = |rule: &str| {
        let began = stored.iter().filter(|row| row[1] == rule && row[4] == "firing");
        u64::try_from(began.count()).unwrap()
    };
    for rule in ["Drift", "Strong", "Both", "Few"] {
        assert!(fired(rule) > 1, "{rule} fires too seldom to show anything");
    }
    assert_eq!(replayed(&pool, &in_force).await, stored);
    // Other rules give something else, so that the comparison can fail.
    let other = RuleSet::parse(&[("r.yaml".into(), RULES.replace("for: 2w", "for: 3w"))]).unwrap();
    assert_ne!(replayed(&pool, &other).await, stored);

    // A person's run of two minutes that ended well, and a label that came before any window was judged.
    sqlx::query(
        "insert into training_run (id, model, state, reason_kind, reason, cause, spec, created_at, started_at, finished_at)
         values (gen_random_uuid(), $1, 'rejected', 'person', 'x', 'x', '{}', now() - interval '2 days',
                 now() - interval '2 days', now() - interval '2 days' + interval '2 minutes')",
    )
    .bind(model().as_str())
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("insert into label (model, row_id, value, labelled_at, predicted_at, created_at) values ($1, 'a', '1', now(), now(), now() - interval '1 day')")
        .bind(model().as_str())
        .execute(&pool)
        .await
        .unwrap();
    std::fs::write(
        folder.path().join("new.yaml"),
        RULES.replace("psi > 2", "psi > 9").replace("Both", "Two"),
    )
    .unwrap();
    let (status, printed, noted) =
        rules(folder.path(), &["replay", "--rules", "new.yaml", "--json", "--html", "replay.html"]).await;
    assert_eq!(status, Some(0), "{noted}");
    let printed: Json = serde_json::from_str(&printed).unwrap();
    let found = &printed["models"][0];
    assert_eq!((&found["model"], &found["windows"]), (&"bike-demand".into(), &WINDOWS.into()));
    let of = |rule: &str, side: &str, key: &str| {
        let rules = found["rules"].as_array().unwrap();
        rules.iter().find(|row| row["rule"] == rule).unwrap()[side][key].clone()
    };
    for rule in ["Drift", "Strong", "Both", "Few"] {
        assert_eq!(of(rule, "in_force", "alerts"), fired(rule), "{rule}");
    }
    assert_eq!(of("Strong", "replayed", "alerts"), 0);
    assert_eq!((of("Both", "replayed", "alerts"), of("Two", "in_force", "alerts")), (Json::Null, Json::Null));
    assert_eq!(of("Two", "replayed", "spells"), of("Both", "in_force", "spells"));
    // The first cause has its run; after it, no label is fresh.
    assert_eq!(
        (of("Drift", "in_force", "runs_started"), of("Drift", "in_force", "gpu_minutes")),
        (1.into(), 2.0.into())
    );
    let page = std::fs::read_to_string(folder.path().join("replay.html")).unwrap();
    assert!(page.contains("<title>What the changed rules would have done</title>"), "{page}");

    // The last day alone.
    let (status, printed, _) = rules(folder.path(), &["replay", "--days", "1", "-m", "bike-demand"]).await;
    assert_eq!(status, Some(0));
    assert!(
        printed.starts_with("bike-demand: 24 windows, 2026-01-02 12:00 to 2026-01-03 12:00 UTC\n"),
        "{printed}"
    );
    assert!(printed.contains("in force") && !printed.contains("difference"), "{printed}");
}

#[tokio::test]
async fn what_cannot_be_replayed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (_pool, url) = support::database_with_url().await;
    let text = format!("database: {{url: '{url}'}}\nmodels: [{{name: bike-demand}}]\n");
    std::fs::write(folder.path().join("driftline.yaml"), text).unwrap();
    std::fs::write(folder.path().join("rules.yaml"), RULES).unwrap();
    let (status, _, noted) = rules(folder.path(), &["replay"]).await;
    assert!(status == Some(2) && noted.contains("the settings name no rules (`rules`)"), "{noted}");
    let (status, _, noted) = rules(folder.path(), &["replay", "--rules", "rules.yaml"]).await;
    assert!(status == Some(2) && noted.contains("no window has been judged yet"), "{noted}");
    let (status, _, noted) =
        rules(folder.path(), &["replay", "--rules", "rules.yaml", "-m", "elsewhere"]).await;
    assert!(status == Some(2) && noted.contains("model `elsewhere` is not registered"), "{noted}");
    std::fs::write(folder.path().join("rules.yaml"), RULES.replace("psi >", "psy >")).unwrap();
    let (status, _, noted) = rules(folder.path(), &["replay", "--rules", "rules.yaml"]).await;
    assert!(status == Some(2) && noted.contains("did you mean `psi`?"), "{noted}");
}
