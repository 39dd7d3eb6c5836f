//! Files as a source: followed, rotated, cut short, packed, dropped; and every line counted once.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use driftline::store::{self, PgPool};
use polars::prelude::{Column, DataFrame, NamedFrom, ParquetWriter, Series};

use crate::ingest_support::{counts, database, kept, number};
use crate::outage::Door;
use crate::source_support::{Sidecar, Sourced, in_folder, lines, prediction};
use crate::support::wait_for;

fn source(pattern: &Path, more: &str) -> String {
    let pattern = pattern.display();
    format!("  - {{name: s, model: m, files: {{paths: ['{pattern}'], poll: 20ms, settle: 400ms, {more}}}}}\n")
}

fn append(path: &Path, text: &str) {
    File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

async fn counted(pool: &PgPool, expected: u64) {
    wait_for("lines to be counted", || async { (counts(pool).await.seen >= expected).then_some(()) }).await;
    assert_eq!(counts(pool).await, kept(expected, expected));
}

/// Waits until everything that was found is read.
async fn read_to_the_end(replica: &Sourced, messages: u64) {
    wait_for("the end of all files", || async {
        let lag = replica.metrics.source.lag_bytes.with_label_values(&["s"]).get();
        (lag == 0 && replica.count("messages") >= messages).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_followed_through_rotation_truncation_restarts_and_outages() {
    let (pool, url) = database().await;
    let (mut door, through) = Door::shut(&url);
    door.open();
    let folder = tempfile::tempdir().unwrap();
    let log = in_folder(&folder, "app.jsonl");
    append(&log, &lines(0..10));
    let source = source(&log, "");
    let replica = Sourced::start(&through, &source);
    counted(&pool, 10).await;

    // Half a line, and its other half.
    let line = prediction(10) + "\n";
    append(&log, &line[..20]);
    counted(&pool, 10).await;
    append(&log, &line[20..]);
    counted(&pool, 11).await;

    // Renamed, written to for a little longer under a name that no pattern leads to, and made anew.
    let mut old = File::options().append(true).open(&log).unwrap();
    fs::rename(&log, folder.path().join("app.jsonl.1")).unwrap();
    append(&log, &lines(11..15));
    counted(&pool, 15).await;
    old.write_all(lines(15..18).as_bytes()).unwrap();
    counted(&pool, 18).await;
    // The last line of the old file never gets its line break.
    old.write_all(prediction(18).as_bytes()).unwrap();
    drop(old);
    counted(&pool, 19).await;

    // Copied and cut short, with less in it than was read, then with more.
    File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    append(&log, &lines(19..20));
    counted(&pool, 20).await;
    assert_eq!(replica.skipped("restarted"), 1);
    replica.stop().await;
    fs::write(&log, lines(20..60)).unwrap();
    let replica = Sourced::start(&through, &source);
    counted(&pool, 60).await;

    // Without the database nothing moves on, and nothing is lost.
    door.close().await;
    append(&log, &lines(60..70));
    wait_for("lines to wait", || async { (replica.metrics.ingest.waiting_messages.get() > 0).then_some(()) })
        .await;
    assert!(replica.metrics.source.lag_bytes.with_label_values(&["s"]).get() > 0);
    fs::rename(&log, folder.path().join("app.jsonl.2")).unwrap();
    append(&log, &lines(70..75));
    door.open();
    counted(&pool, 75).await;
    replica.stop().await;
    // A restart reads nothing again.
    let replica = Sourced::start(&through, &source);
    append(&log, &lines(75..76));
    counted(&pool, 76).await;
    replica.stop().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_is_not_read_again_when_it_is_renamed_packed_or_comes_back() {
    let (pool, url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    let log = in_folder(&folder, "app.jsonl");
    append(&log, &lines(0..50));
    let replica = Sourced::start(&url, &source(&folder.path().join("app.jsonl*"), ""));
    counted(&pool, 50).await;
    let rotated = folder.path().join("app.jsonl.1");
    fs::rename(&log, &rotated).unwrap();
    append(&log, &lines(50..55));
    counted(&pool, 55).await;
    // Gone for a while.
    fs::rename(&log, folder.path().join("away")).unwrap();
    append(&rotated, &lines(55..58));
    counted(&pool, 58).await;
    fs::rename(folder.path().join("away"), &log).unwrap();
    // Packed, with lines that were added on the way.
    let text = fs::read_to_string(&rotated).unwrap() + &lines(58..60);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    fs::write(folder.path().join("app.jsonl.1.gz.tmp"), encoder.finish().unwrap()).unwrap();
    fs::rename(folder.path().join("app.jsonl.1.gz.tmp"), folder.path().join("app.jsonl.1.gz")).unwrap();
    fs::remove_file(&rotated).unwrap();
    append(&log, &lines(60..61));
    counted(&pool, 61).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_goes_on_where_the_commit_was() {
    let (pool, url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    let log = in_folder(&folder, "app.jsonl");
    let mut sidecar = Sidecar::start(&url, &source(&log, ""));
    let mut written = 0;
    for kill in 1..=4_usize {
        while counts(&pool).await.seen < (kill * 150) as u64 {
            append(&log, &lines(written..written + 7));
            written += 7;
        }
        sidecar.kill_and_start().await;
    }
    counted(&pool, written as u64).await;
    let positions = store::source_position::all(&pool, "s").await.unwrap();
    assert_eq!(positions.len(), 1, "{positions:?}");
    sidecar.kill().await;
}

/// A line of data capture whose bodies are JSON.
fn capture(number: usize) -> String {
    let side = |mode: &str, data: String| {
        let data = serde_json::Value::String(data);
        format!(
            r#"{{"observedContentType":"application/json","mode":"{mode}","data":{data},"encoding":"JSON"}}"#
        )
    };
    let input = side("INPUT", format!(r#"{{"instances":[{{"x":{number}}}]}}"#));
    let output = side("OUTPUT", r#"{"predictions":[{"y":1}]}"#.to_owned());
    format!(
        r#"{{"captureData":{{"endpointInput":{input},"endpointOutput":{output}}},"eventMetadata":{{"eventId":"e-{number}","inferenceTime":"2026-09-21T12:00:00Z"}},"eventVersion":"0"}}"#
    ) + "\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_of_captures_are_read_whatever_they_are_packed_with() {
    let (pool, url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    let next = Cell::new(0);
    let some = |lines: usize| -> String {
        let from = next.replace(next.get() + lines);
        (from..from + lines).map(capture).collect()
    };
    let sent = || next.get() as u64;
    for hour in 0..24 {
        for file in 0..3 {
            let path = in_folder(&folder, &format!("ep/AllTraffic/2026/09/21/{hour:02}/{file}.jsonl"));
            fs::write(path, some(2)).unwrap();
        }
    }
    let hour = "ep/AllTraffic/2026/09/22/00";
    let packed = |name: &str, bytes: &[u8]| {
        fs::write(in_folder(&folder, &format!("{hour}/.{name}.tmp")), bytes).unwrap();
        fs::rename(
            in_folder(&folder, &format!("{hour}/.{name}.tmp")),
            in_folder(&folder, &format!("{hour}/{name}")),
        )
        .unwrap();
    };
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    packed("a.jsonl.gz", &gzip(&some(2500)));
    packed("b.jsonl.zst", &zstd::encode_all(some(10).as_bytes(), 1).unwrap());
    // Cut in transfer, and without a line break at its end.
    let whole = gzip(&(some(1200) + "{\"never\":"));
    packed("c.jsonl.gz", &whole[..whole.len() - 4]);
    packed("d.jsonl.gz", &gzip(some(3).trim_end()));
    fs::write(in_folder(&folder, &format!("{hour}/_SUCCESS")), "").unwrap();
    fs::write(in_folder(&folder, &format!("{hour}/e.jsonl.tmp")), "{\"not\":\"yet\"}\n").unwrap();

    let pattern = folder.path().join("**/*");
    let replica = Sourced::start(&url, &source(&pattern, "format: sagemaker_capture, shared: true"));
    let second = Sourced::start(&url, &source(&pattern, "format: sagemaker_capture, shared: true"));
    wait_for("captures to be counted", || async {
        (counts(&pool).await.seen >= sent() - 1200).then_some(())
    })
    .await;
    wait_for("the cut file", || async {
        (replica.refused("damaged") + second.refused("damaged") > 0).then_some(())
    })
    .await;
    let found = counts(&pool).await;
    assert!(found.seen <= sent(), "{found:?}");
    assert!(
        replica.count("messages") == 0 || second.count("messages") == 0,
        "one of two replicas reads a shared folder"
    );
    // The one that leads goes; the other takes over and reads nothing twice.
    let (leader, other) = if replica.count("messages") > 0 { (replica, second) } else { (second, replica) };
    leader.stop().await;
    fs::write(in_folder(&folder, &format!("{hour}/c.jsonl.gz")), &whole).unwrap();
    fs::write(in_folder(&folder, &format!("{hour}/f.jsonl")), some(5)).unwrap();
    // What is left of the cut file is its last lines and the half one, which is none.
    wait_for("the rest", || async { (counts(&pool).await.seen > sent()).then_some(()) }).await;
    let found = counts(&pool).await;
    assert_eq!((found.seen, found.dropped["not_an_object"]), (sent() + 1, 1), "{found:?}");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_documents_are_read_once_when_they_are_whole() {
    let (pool, url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    let replica = Sourced::start(
        &url,
        &source(&folder.path().join("drops/*"), "columns: {id: id, time: at, outputs: [y], ignore: [note]}"),
    );
    let csv: Vec<String> = (0..30).map(|i| format!("c{i},2026-09-21T12:00:00Z,{i},1,n\n")).collect();
    let csv = csv.concat();
    // Written where it is not looked for, and put in its place at once.
    fs::write(in_folder(&folder, "drops/.a.csv.tmp"), format!("id,at,x,y,note\n{csv}")).unwrap();
    fs::rename(in_folder(&folder, "drops/.a.csv.tmp"), in_folder(&folder, "drops/a.csv")).unwrap();
    let mut frame = DataFrame::new(
        2500,
        vec![
            Column::from(Series::new("id".into(), (0..2500).map(|i| format!("p{i}")).collect::<Vec<_>>())),
            Column::from(Series::new("at".into(), vec!["2026-09-21T12:30:00Z"; 2500])),
            Column::from(Series::new("x".into(), (0..2500).map(f64::from).collect::<Vec<_>>())),
            Column::from(Series::new("y".into(), vec![1.0; 2500])),
        ],
    )
    .unwrap();
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
    // Written slowly, in its place: unreadable until it is whole.
    let parquet = in_folder(&folder, "drops/b.parquet");
    fs::write(&parquet, &bytes[..bytes.len() / 2]).unwrap();
    counted(&pool, 30).await;
    wait_for("the half to be seen", || async { (replica.refused("undecodable") == 1).then_some(()) }).await;
    append_bytes(&parquet, &bytes[bytes.len() / 2..]);
    counted(&pool, 2530).await;
    let ids = "select count(distinct row_id) from captured_row";
    assert_eq!(number(&pool, ids).await, 2530);

    let event = |id: u32, side: &str, body: &str| {
        let bytes = base64(body);
        format!(
            r#"{{"url":{{"Scheme":"s3"}},"bytes":"{bytes}","contentType":"application/json","reqType":"org.kubeflow.serving.inference.{side}","id":"b-{id}","sourceUri":{{}},"inferenceService":"iris","namespace":"d","component":"predictor","endpoint":"","metadata":{{}},"annotations":{{}}}}"#
        )
    };
    let (request, response) = (r#"{"instances":[{"x":7}]}"#, r#"{"predictions":[{"y":3}]}"#);
    fs::write(in_folder(&folder, "drops/b-1-request.json"), event(1, "request", request)).unwrap();
    let several = format!(
        "[{},{},{}]",
        event(1, "response", response),
        event(2, "response", response),
        event(2, "request", request)
    );
    fs::write(in_folder(&folder, "drops/b-1-response.json"), several).unwrap();
    counted(&pool, 2532).await;

    // What changes after it was read is reported and not read again, now and after a restart.
    append(&folder.path().join("drops/a.csv"), "c99,2026-09-21T12:00:00Z,1,1,n\n");
    wait_for("the change", || async { (replica.refused("changed_after_reading") == 1).then_some(()) }).await;
    read_to_the_end(&replica, 1).await;
    replica.stop().await;
    let replica = Sourced::start(
        &url,
        &source(&folder.path().join("drops/*"), "columns: {id: id, time: at, outputs: [y], ignore: [note]}"),
    );
    fs::write(in_folder(&folder, "drops/z.csv"), "id,at,x,y\nlast,2026-09-21T12:00:00Z,1,1\n").unwrap();
    counted(&pool, 2533).await;
    assert_eq!(replica.refused("changed_after_reading"), 0);
    replica.stop().await;
}

fn append_bytes(path: &Path, bytes: &[u8]) {
    File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitor_logs_are_read_by_the_schema_beside_them() {
    let (pool, url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    let data = in_folder(&folder, "monitoring/x/data/data.1.log");
    let schema = in_folder(&folder, "monitoring/x/schema/schema.1.log");
    let line = |id: u32, x: u32| {
        format!(
            r#"{{"x": {x}, "y": 1.5, "truth": 2, "timestamp": "2026-09-21T14:00:0{}.5", "request_id": "{id}", "trace_id": "9"}}"#,
            id % 10
        ) + "\n"
    };
    append(&data, &(line(1, 1) + &line(1, 2)));
    let replica = Sourced::start(&url, &source(&data, "utc_offset: '+02:00'"));
    wait_for("the schema to be missed", || async { (replica.skipped("no_schema") > 0).then_some(()) }).await;
    let columns = r#"{"meta_data": {"bento_name": "Clf", "bento_version": "1"}, "columns": [{"name": "x", "role": "feature", "type": "numerical"}, {"name": "y", "role": "prediction", "type": "numerical"}, {"name": "truth", "role": "target", "type": "numerical"}]}"#;
    append(&schema, &format!("{columns}\n"));
    wait_for("the first request", || async { (counts(&pool).await.kept == 1).then_some(()) }).await;
    append(&data, &(line(2, 1) + &line(2, 2) + &line(3, 1) + &line(3, 2) + &line(3, 3)));
    wait_for("all requests", || async { (counts(&pool).await.kept == 3).then_some(()) }).await;
    // Rows of one request are one exchange; the local time is that of the settings.
    assert_eq!(counts(&pool).await, kept(3, 7));
    let minute = "select count(*) from profile_part where minute = '2026-09-21T12:00:00Z'";
    assert_eq!(number(&pool, minute).await, 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_are_no_use_are_counted_and_passed_over() {
    let (pool, url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    let log = in_folder(&folder, "app.jsonl");
    fs::write(&log, b"\xff\xfe\n").unwrap();
    append(&log, &format!("{}\n", "x".repeat(5000)));
    append(&log, &lines(0..2));
    // A line that does not end, longer than any may be.
    append(&log, &"y".repeat(5000));
    let sources = source(&log, "line_limit: 1KiB").replace(" model: m,", "");
    let replica = Sourced::start(&url, &sources);
    counted(&pool, 2).await;
    wait_for("both long lines", || async { (replica.refused("line_too_long") == 2).then_some(()) }).await;
    append(&log, &("y".repeat(500) + "\n{\"no\":\"prediction\"}\n" + &lines(2..3)));
    counted(&pool, 3).await;
    assert_eq!(replica.refused("not_utf8"), 1);
    assert_eq!(replica.refused("undecodable"), 1);
    assert_eq!(replica.refused("line_too_long"), 2);
    replica.stop().await;
}
