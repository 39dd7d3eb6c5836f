//! Captured rows in files: moved, read, frozen, damaged, deleted, and never lost when a process is killed in between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::Fault;
use driftline::app;
use driftline::capture::{self, CaptureError, Due, Filter, Lead, Place, Reader, Rows, Sample, Snapshot};
use driftline::config::Settings;
use driftline::metrics::Metrics;
use driftline::model::{Column, ModelName, Value};
use driftline::store::captured::{self, CapturedRow};
use driftline::store::label::{self, Label, Rules};
use driftline::tasks::{Capture, Faults};
use serde_json::{Value as Json, json};
use sqlx::PgPool;

use crate::support::{database_with_url, wait_for};

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

pub(crate) struct Setting {
    pub(crate) pool: PgPool,
    pub(crate) url: String,
    pub(crate) model: ModelName,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) place: Place,
}

impl Setting {
    pub(crate) async fn new() -> Self {
        let (pool, url) = database_with_url().await;
        let model = ModelName::parse("m").unwrap();
        driftline::store::model::register(&pool, &model).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let place = Place::folder(&folder.path().join("capture")).unwrap();
        Self { pool, url, model, folder, place }
    }

    /// Captures rows `from..until`, a second apart.
    pub(crate) async fn capture(&self, from: usize, until: usize) -> u64 {
        let odd = [
            Value::Number(f64::NAN),
            Value::Number(-0.0),
            Value::Text("a".into()),
            Value::Missing,
            Value::Bool(true),
            Value::Opaque,
        ];
        let rows: Vec<CapturedRow> = (from..until)
            .map(|row| {
                let columns = [
                    Column { name: "x".into(), values: vec![Value::Number(row as f64 / 8.0)] },
                    Column { name: "odd".into(), values: vec![odd[row % odd.len()].clone()] },
                ];
                let answer = [Column { name: "y".into(), values: vec![Value::Bool(row.is_multiple_of(2))] }];
                CapturedRow {
                    row_id: format!("r{row}"),
                    event_time: at(i64::try_from(row).unwrap()),
                    model_version: if row.is_multiple_of(2) { "1".into() } else { "2".into() },
                    features: captured::row(&columns, 0),
                    outputs: captured::row(&answer, 0),
                    ..CapturedRow::default()
                }
            })
            .collect();
        let mut transaction = self.pool.begin().await.unwrap();
        let new = captured::insert(&mut transaction, &self.model, &rows).await.unwrap();
        transaction.commit().await.unwrap();
        new
    }

    async fn label(&self, row: usize, value: Json, known: i64) {
        let mut db = self.pool.acquire().await.unwrap();
        let label = Label::by_id(format!("r{row}"), value, at(known));
        label::upsert(&mut db, &self.model, &[label], &Rules::default()).await.unwrap();
    }

    async fn seal(&self, limit: u64) -> Vec<capture::Sealed> {
        capture::seal_all(&self.pool, &self.place, &self.model, (limit, &[])).await.unwrap()
    }

    pub(crate) async fn read(&self, filter: Filter) -> BTreeMap<String, String> {
        let mut reader = Reader::open(&self.pool, &self.place, &self.model, filter).await.unwrap();
        let mut read = BTreeMap::new();
        while let Some(rows) = reader.next().await.unwrap() {
            gather(&rows, &mut read);
        }
        read
    }

    async fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.pool, &self.place, &self.model, Filter::default(), None, (100, &[]))
            .await
            .unwrap()
    }

    async fn rows_of(&self, snapshot: &Snapshot) -> Result<BTreeMap<String, String>, CaptureError> {
        let mut reader = snapshot.reader(&self.pool, &self.place).await?;
        let mut read = BTreeMap::new();
        while let Some(rows) = reader.next().await? {
            gather(&rows, &mut read);
        }
        Ok(read)
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.folder.path().join("capture"))
    }

    async fn number(&self, what: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select {what}"))).fetch_one(&self.pool).await.unwrap()
    }

    fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_driftline"))
            .current_dir(self.folder.path())
            .args(arguments)
            .env("DRIFTLINE__DATABASE__URL", &self.url)
            .env("DRIFTLINE__DATA_DIR", self.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        (done.status.code(), said)
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect();
    found.sort();
    found
}

/// Every row as text, by id; a row that comes twice fails.
fn gather(rows: &Rows, read: &mut BTreeMap<String, String>) {
    for (row, place) in rows.places().enumerate() {
        let columns = rows.features.iter().chain(&rows.outputs);
        let values: Vec<String> =
            columns.map(|column| format!("{}={:?}", column.name, column.value(place))).collect();
        let said = format!(
            "{} v{} {} {:?}",
            rows.times[row],
            rows.model_versions.get(row),
            values.join(" "),
            rows.labels[row]
        );
        assert_eq!(read.insert(rows.ids.get(row).to_owned(), said), None, "row {} twice", rows.ids.get(row));
    }
}

#[tokio::test]
async fn rows_are_the_same_wherever_they_are() {
    let it = Setting::new().await;
    assert_eq!(it.capture(0, 250).await, 250);
    it.label(3, json!(1), 10).await;
    let before = it.read(Filter::default()).await;
    assert_eq!(before.len(), 250);
    let sealed = it.seal(100).await;
    assert_eq!(sealed.iter().map(|file| file.rows).collect::<Vec<_>>(), [100, 100, 50]);
    assert_eq!(it.files().len(), 3);
    assert_eq!(it.read(Filter::default()).await, before);
    // What was moved is known when it comes again, and late labels find it.
    assert_eq!(it.capture(0, 260).await, 10);
    it.label(4, json!({"y": true}), 20).await;
    let after = it.read(Filter::default()).await;
    assert_eq!(after.len(), 260);
    assert!(after["r4"].ends_with(r#"Some(Object {"y": Bool(true)})"#), "{}", after["r4"]);
    assert!(after["r0"].contains("odd=Number(NaN)") && after["r1"].contains("odd=Number(-0.0)"));
    assert!(after["r5"].contains("odd=Opaque") && after["r3"].contains("odd=Missing"));

    let some =
        Filter { from: Some(at(90)), until: Some(at(255)), model_version: Some("1".into()), sample: None };
    let expected: Vec<String> = (90..255).filter(|row| row % 2 == 0).map(|row| format!("r{row}")).collect();
    let found: std::collections::BTreeSet<String> = it.read(some).await.into_keys().collect();
    assert_eq!(found, expected.into_iter().collect());
    let half = |seed| Filter { sample: Some(Sample { share: 0.5, seed }), ..Filter::default() };
    let (one, other) = (it.read(half(1)).await, it.read(half(2)).await);
    assert!((90..170).contains(&one.len()) && one != other && one == it.read(half(1)).await);
}

#[tokio::test]
async fn a_snapshot_gives_the_same_rows_for_ever() {
    let it = Setting::new().await;
    it.capture(0, 150).await;
    for row in [1, 2, 120] {
        it.label(row, json!(row), 10).await;
    }
    let snapshot = it.snapshot().await;
    assert_eq!((snapshot.manifest.rows, snapshot.manifest.parts.len()), (3, 2));
    let rows = it.rows_of(&snapshot).await.unwrap();
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["r1", "r120", "r2"]);
    // Another label, a label that changes, more rows: the next snapshot has them, this one does not.
    it.label(1, json!(7), 20).await;
    it.label(5, json!(7), 20).await;
    it.capture(150, 160).await;
    let opened = Snapshot::open(&it.pool, &snapshot.hash).await.unwrap();
    assert_eq!(opened, snapshot);
    assert_eq!(it.rows_of(&opened).await.unwrap(), rows);
    let next = it.snapshot().await;
    assert_ne!(next.hash, snapshot.hash);
    assert_eq!(it.rows_of(&next).await.unwrap().len(), 4);
    // Labels that became known after a given time are not in it.
    let early =
        Snapshot::take(&it.pool, &it.place, &it.model, Filter::default(), Some(at(15)), (100, &[])).await;
    assert_eq!(early.unwrap().manifest.rows, 2, "the label of r1 became known at 20");

    let named = &snapshot.manifest.parts[0].segment;
    let uri = it.files().into_iter().find(|path| path.display().to_string().contains(named)).unwrap();
    let good = std::fs::read(&uri).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&uri, &bad).unwrap();
    let mut problems = Vec::new();
    for snapshot in [&snapshot, &next] {
        problems.extend(it.rows_of(snapshot).await.err().map(|error| error.to_string()));
    }
    let name = uri.file_name().unwrap().to_str().unwrap();
    assert!(!problems.is_empty() && problems.iter().all(|problem| problem.contains(name)), "{problems:?}");
    let (status, said) = it.command(&["capture", "verify", "-m", "m"]);
    assert!(status == Some(1) && said.contains("is damaged") && said.contains(name), "{said}");
    std::fs::remove_file(&uri).unwrap();
    let (status, said) = it.command(&["capture", "verify", "-m", "m", "--json"]);
    assert!(status == Some(1) && said.contains("is gone"), "{said}");
    std::fs::write(&uri, &good).unwrap();
    let (status, said) = it.command(&["capture", "verify", "-m", "m"]);
    assert!(status == Some(0) && said.contains("0 of them gone or damaged"), "{said}");
    assert!(Snapshot::open(&it.pool, "unknown").await.unwrap_err().to_string().contains("not known"));
    sqlx::query("update capture_snapshot set manifest = '{}' where hash = $1")
        .bind(&snapshot.hash)
        .execute(&it.pool)
        .await
        .unwrap();
    let changed = Snapshot::open(&it.pool, &snapshot.hash).await.unwrap_err().to_string();
    assert!(changed.contains("not what it is named after"), "{changed}");
}

#[tokio::test]
async fn commands_show_what_is_kept() {
    let it = Setting::new().await;
    it.capture(0, 30).await;
    let (status, said) = it.command(&["capture", "seal", "-m", "m"]);
    assert!(status == Some(0) && said.contains("30 rows moved into 1 files"), "{said}");
    it.capture(30, 35).await;
    let (status, said) = it.command(&["capture", "status", "--json"]);
    let document: Json = serde_json::from_str(&said).unwrap();
    let of_model = &document["models"][0];
    assert_eq!(
        (status, &of_model["staged_rows"], &of_model["segment_rows"]),
        (Some(0), &json!(5), &json!(30))
    );
    let (status, said) = it.command(&["capture", "list", "-m", "m", "--json"]);
    let document: Json = serde_json::from_str(&said).unwrap();
    let columns = document["files"][0]["schema"]["columns"].as_array().unwrap();
    let odd = columns.iter().find(|column| column["name"] == "odd").unwrap();
    assert_eq!((status, odd["parts"].as_array().unwrap().len()), (Some(0), 4), "{said}");
    for command in ["status", "list"] {
        let (status, said) = it.command(&["capture", command, "-m", "m"]);
        assert!(status == Some(0) && said.contains("30"), "{said}");
    }
    let (status, said) = it.command(&["capture", "list", "-m", "nobody"]);
    assert!(status == Some(2) && said.contains("not registered"), "{said}");
    let (status, said) = it.command(&["models", "list"]);
    assert!(status == Some(0) && said.contains("has no baseline yet: 35 rows are captured"), "{said}");
}

#[tokio::test]
async fn retention_deletes_what_no_version_rests_on() {
    let it = Setting::new().await;
    it.capture(0, 100).await;
    it.label(1, json!(1), 10).await;
    it.seal(50).await;
    let snapshot = it.snapshot().await;
    let now = app::now() + TimeDelta::hours(1);
    let expire =
        async |before, now| capture::expire(&it.pool, &it.place, &it.model, before, now).await.unwrap();
    // Young rows stay; then the file without a label goes, and the other one is named by a young snapshot.
    assert_eq!(expire(now - TimeDelta::days(1), now).await.files, 0);
    assert_eq!((expire(now, now).await.files, it.files().len()), (1, 2));
    it.rows_of(&snapshot).await.unwrap();
    // A version rests on it: it stays, however old.
    let mut db = it.pool.acquire().await.unwrap();
    for statement in [
        "insert into snapshot (hash, model, row_count, manifest, capture) select 's', 'm', 1, '{}', hash from capture_snapshot",
        "insert into training_run (id, model, state, reason_kind, reason, cause, spec)
         values ('00000000-0000-0000-0000-000000000001', 'm', 'succeeded', 'person', '', '', '{}')",
        "insert into baseline (model, version, row_count, source, content) values ('m', 'b', 1, '', '{}')",
        "insert into model_version (model, version, state, kind, artifact_uri, artifact_sha256, metrics, parameters, seed,
             snapshot, snapshot_rows, baseline, build, run, reason)
         values ('m', 1, 'archived', 'linear', '', '', '{}', '{}', 0, 's', 1, 'b', '{}',
             '00000000-0000-0000-0000-000000000001', '')",
    ] {
        sqlx::query(statement).execute(&mut *db).await.unwrap();
    }
    let later = now + TimeDelta::days(30);
    assert_eq!((expire(later, later).await.files, it.files().len()), (0, 2));
    it.rows_of(&snapshot).await.unwrap();
    sqlx::query("delete from model_version").execute(&mut *db).await.unwrap();
    assert_eq!((expire(later, later).await.files, it.files().len()), (2, 0));
    assert!(it.rows_of(&snapshot).await.unwrap_err().to_string().contains("not listed any more"));
    // An object that an attempt left behind goes after a day.
    let left = it.folder.path().join("capture/m/rows/left.parquet");
    std::fs::write(&left, "x").unwrap();
    assert_eq!(expire(now, app::now()).await.unlisted, 0);
    assert_eq!((expire(now, later).await.unlisted, it.files().len()), (1, 0));
}

#[tokio::test]
async fn a_store_that_refuses_leaves_rows_where_they_are_and_is_told() {
    let it = Setting::new().await;
    it.capture(0, 100).await;
    // A file stands where the folder would be: nothing can be written, as on a full disk.
    std::fs::write(it.folder.path().join("capture"), "").unwrap();
    let text = "models: [{name: m}]\ncapture: {segment_rows: 100}";
    let settings = Arc::new(Settings::parse(text, "s.yaml").unwrap());
    let (metrics, faults) = (Metrics::new().unwrap(), Faults::default());
    let task = Capture::new(
        it.pool.clone(),
        Arc::clone(&settings),
        it.place.clone(),
        metrics.capture.clone(),
        faults.clone(),
        app::now,
    );
    let shutdown = tokio_util::sync::CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(task.run(shutdown.clone()));
    wait_for("the fault being told", async || {
        faults.present().contains_key(&Fault::CaptureFailed).then_some(())
    })
    .await;
    let told = faults.present().remove(&Fault::CaptureFailed).unwrap();
    assert!(told.contains("m: `file://") && told.contains("could not be written"), "{told}");
    assert_eq!(it.number("count(*) from captured_row where segment is null").await, 100);
    assert!(metrics.capture.failures.with_label_values(&["m"]).get() > 0);
    // With room again the rows are moved, and nothing is wrong any more.
    std::fs::remove_file(it.folder.path().join("capture")).unwrap();
    wait_for("the rows being moved", async || {
        (it.number("count(*) from captured_row where segment is not null").await == 100).then_some(())
    })
    .await;
    wait_for("the fault going away", async || faults.present().is_empty().then_some(())).await;
    shutdown.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(it.read(Filter::default()).await.len(), 100);
}

#[tokio::test]
async fn two_that_move_at_once_move_every_row_once() {
    let it = Setting::new().await;
    it.capture(0, 500).await;
    let seal = async || {
        let mut rows = 0;
        while let Some(file) =
            capture::seal(&it.pool, &it.place, &it.model, Due::ALL, (60, &[]), Lead::Wait).await.unwrap()
        {
            rows += file.rows;
        }
        rows
    };
    let (one, other, more) = tokio::join!(seal(), seal(), it.capture(500, 600));
    assert_eq!(more, 100);
    it.seal(60).await;
    assert!(one + other >= 500);
    assert_eq!(it.read(Filter::default()).await.len(), 600);
    assert_eq!(it.number("coalesce(sum(row_count), 0)::bigint from capture_segment").await, 600);
}

/// A sidecar that moves rows; killed without a chance to say goodbye.
struct Sidecar(Child);

impl Sidecar {
    fn start(it: &Setting) -> Self {
        let settings = format!(
            "database: {{url: \"{}\"}}\ndata_dir: {}\nlisten: {{admin: \"127.0.0.1:0\", proxy: \"127.0.0.1:0\"}}\n\
             capture: {{segment_rows: 100}}\nmodels: [{{name: m, labels: {{}}}}]\n",
            it.url,
            it.folder.path().display()
        );
        let path = it.folder.path().join("driftline.yaml");
        std::fs::write(&path, settings).unwrap();
        let log = std::fs::File::create(it.folder.path().join("sidecar.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_driftline"))
            .args(["run", "--config", path.to_str().unwrap()])
            .stderr(Stdio::from(log))
            .spawn();
        Self(child.unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.0.kill().ok();
    }
}

/// Kills a sidecar in each step of moving rows: it is held up there by a lock in the database.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_any_two_steps_nothing_is_lost_or_doubled() {
    let it = Setting::new().await;
    it.capture(0, 150).await;
    let before = it.read(Filter::default()).await;
    for (step, lock, waits_for, objects) in [
        (
            "before the object is written",
            "lock table captured_row in access exclusive mode",
            "captured_row where model",
            0,
        ),
        (
            "before it is listed",
            "lock table capture_segment in exclusive mode",
            "insert into capture_segment",
            1,
        ),
        (
            "before the rows are moved",
            "select from captured_row where row_id = 'r7' for update",
            "update captured_row",
            1,
        ),
    ] {
        let mut holder = it.pool.begin().await.unwrap();
        sqlx::query(lock).execute(&mut *holder).await.unwrap();
        let sidecar = Sidecar::start(&it);
        wait_for(step, async || {
            let waiting: Option<i32> = sqlx::query_scalar(
                "select 1 from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and position($1 in query) > 0 limit 1",
            )
            .bind(waits_for)
            .fetch_optional(&it.pool)
            .await
            .unwrap();
            waiting
        })
        .await;
        sidecar.kill();
        holder.rollback().await.unwrap();
        wait_for("the killed one's connections to end", async || {
            let left: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid() and wait_event_type = 'Lock'",
            )
            .fetch_one(&it.pool)
            .await
            .unwrap();
            (left == 0).then_some(())
        })
        .await;
        assert_eq!(
            it.files().iter().filter(|path| path.extension().is_some_and(|e| e == "parquet")).count(),
            objects,
            "{step}"
        );
        assert_eq!(it.number("count(*) from capture_segment").await, 0, "{step}");
        assert_eq!(it.read(Filter::default()).await, before, "{step}");
    }
    let sidecar = Sidecar::start(&it);
    wait_for("the rows being moved", async || {
        (it.number("count(*) from captured_row where segment is not null").await >= 100).then_some(())
    })
    .await;
    sidecar.kill();
    assert_eq!(it.read(Filter::default()).await, before);
    // What was written and never listed was the same object: nothing is left over.
    let listed = it.number("count(*) from capture_segment").await;
    assert_eq!(i64::try_from(it.files().len()).unwrap(), listed);
}
