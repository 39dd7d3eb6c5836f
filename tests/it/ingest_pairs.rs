//! Sides of exchanges: in either order, at either replica, twice, too many, and those whose other side never comes.

use driftline::model::Value;
use driftline::profile::{self, Profile};
use driftline::tap::ingest::Stored;
use futures_util::future::join_all;
use sqlx::PgPool;

use crate::ingest_support::{
    Counts, Replica, counts, database, event, kept, number, reference, request, response,
};
use crate::support;

const PENDING: &str = "select count(*) from pending_side";
const TAKEN: Stored = Stored { duplicate: false, taken: 1, refused: 0 };
const KNOWN: Stored = Stored { duplicate: true, taken: 0, refused: 0 };

async fn profile_of(pool: &PgPool) -> Profile {
    let baseline = reference();
    let contents: Vec<Vec<u8>> =
        sqlx::query_scalar("select content from profile_part").fetch_all(pool).await.unwrap();
    let mut merged = Profile::empty(baseline.layout());
    for content in contents {
        merged.merge(&profile::decode(baseline.layout(), &content).unwrap()).unwrap();
    }
    merged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sides_are_joined_in_either_order_and_at_either_replica() {
    let (pool, url) = database().await;
    let replicas = [Replica::start(&url, ""), Replica::start(&url, "")];
    let mut exchanges = 0;
    for (name, first, second, is_answer_first) in [
        ("same replica", 0, 0, false),
        ("same replica, answer first", 0, 0, true),
        ("two replicas", 0, 1, false),
        ("two replicas, answer first", 1, 0, true),
    ] {
        let (asked, answered) = (request(name, 3), response(name, 3));
        let (one, other) = if is_answer_first { (answered, asked) } else { (asked, answered) };
        assert_eq!(replicas[first].ingest.submit(one).await.unwrap(), TAKEN);
        assert_eq!(counts(&pool).await, kept(exchanges, 3 * exchanges), "{name}: nothing is counted yet");
        assert_eq!(number(&pool, PENDING).await, 1, "{name}");
        assert_eq!(replicas[second].ingest.submit(other).await.unwrap(), TAKEN);
        exchanges += 1;
        assert_eq!(counts(&pool).await, kept(exchanges, 3 * exchanges), "{name}");
        assert_eq!(number(&pool, PENDING).await, 0, "{name}");
    }
    let merged = profile_of(&pool).await;
    assert_eq!((merged.columns()[0].usable(), merged.columns()[1].usable()), (12, 12), "inputs and outputs");
    let rows: Vec<String> = sqlx::query_scalar(
        "select row_id from captured_row where row_id like 'two replicas\\__' order by row_id",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(
        rows,
        ["two replicas_0", "two replicas_1", "two replicas_2"],
        "labels find them by the event's id"
    );
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_sides_find_one_another_and_redeliveries_count_nothing() {
    let (pool, url) = database().await;
    let replicas = [Replica::start(&url, ""), Replica::start(&url, "")];
    // Each side of 300 exchanges twice, spread over the replicas so that they race.
    let sent = (0..1200).map(|at| {
        let (pair, copy) = (at / 4, at % 4);
        let id = format!("pair-{pair}");
        let message = if copy % 2 == 0 { request(&id, 1) } else { response(&id, 1) };
        replicas[(pair + copy / 2 + copy % 2) % 2].ingest.submit(message)
    });
    let stored: Vec<Stored> = join_all(sent).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(stored.iter().filter(|stored| **stored == TAKEN).count(), 600);
    assert_eq!(stored.iter().filter(|stored| **stored == KNOWN).count(), 600);
    assert_eq!(counts(&pool).await, kept(300, 300));
    assert_eq!(number(&pool, PENDING).await, 0);
    let paired: u64 = replicas
        .iter()
        .map(|replica| replica.metrics.ingest.sides.with_label_values(&["paired"]).get())
        .sum();
    assert_eq!(paired, 600);
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_whose_other_never_comes_is_recorded_alone() {
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "sink: {pending_for: 1s}\n");
    replica.ingest.submit(request("unanswered", 2)).await.unwrap();
    replica.ingest.submit(response("unasked", 2)).await.unwrap();
    replica.ingest.submit(event("request", "broken", "{oops")).await.unwrap();
    let counted = support::wait_for("the end of their patience", || async {
        let counted = counts(&pool).await;
        (counted.seen == 3).then_some(counted)
    })
    .await;
    let dropped = [("not_json".to_owned(), 1), ("request_missing".to_owned(), 1)].into();
    assert_eq!(counted, Counts { seen: 3, kept: 1, dropped, rows: 2 });
    let merged = profile_of(&pool).await;
    assert_eq!((merged.columns()[0].usable(), merged.columns()[1].usable()), (2, 0));
    assert_eq!(merged.columns()[1].missing, 0, "an answer that never came is no missing value");
    assert_eq!(replica.metrics.tap.notes.with_label_values(&["m", "response_missing"]).get(), 1);
    for (outcome, count) in [("waiting", 3), ("unanswered", 2), ("unasked", 1)] {
        assert_eq!(replica.metrics.ingest.sides.with_label_values(&[outcome]).get(), count, "{outcome}");
    }
    // What came too late waits for nothing that was counted already.
    replica.ingest.submit(response("unanswered", 2)).await.unwrap();
    assert_eq!(number(&pool, PENDING).await, 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_sides_than_may_wait_are_counted() {
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "sink: {pending_sides: 10}\n");
    for number in 0..30 {
        replica.ingest.submit(request(&format!("r-{number}"), 1)).await.unwrap();
    }
    assert_eq!(number(&pool, PENDING).await, 10);
    assert_eq!(
        counts(&pool).await,
        kept(20, 20),
        "features are kept where the answer can no longer be joined"
    );
    assert_eq!(replica.metrics.tap.notes.with_label_values(&["m", "pending_overflow"]).get(), 20);
    for number in 10..15 {
        replica.ingest.submit(response(&format!("r-{number}"), 1)).await.unwrap();
    }
    let counted = counts(&pool).await;
    assert_eq!((counted.seen, counted.kept, counted.dropped["pending_overflow"]), (25, 20, 5));
    assert_eq!(number(&pool, PENDING).await, 10);
    // Those that wait are still joined, and make room.
    for number in 0..10 {
        replica.ingest.submit(response(&format!("r-{number}"), 1)).await.unwrap();
    }
    assert_eq!(counts(&pool).await.kept, 30);
    assert_eq!(number(&pool, PENDING).await, 0);
    replica.ingest.submit(request("later", 1)).await.unwrap();
    assert_eq!(number(&pool, PENDING).await, 1);
    assert_eq!(replica.metrics.ingest.pending_sides.get(), 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_no_prediction_and_a_waiting_side_holds_no_payload() {
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "");
    let asked = r#"{"instances":[{"x":7,"note":"a waiting text"}],"secret":"not a column"}"#;
    replica.ingest.submit(event("request", "e", asked)).await.unwrap();
    let content: Vec<u8> =
        sqlx::query_scalar("select content from pending_side").fetch_one(&pool).await.unwrap();
    let content = String::from_utf8_lossy(&content).into_owned();
    assert!(content.contains("a waiting text"), "columns wait");
    assert!(!content.contains("not a column"), "and nothing else does: {content}");

    let mut answer = event("response", "e", r#"{"error":"no"}"#);
    if let driftline::tap::ingest::Content::Wire { headers, .. } = &mut answer.content {
        headers.push(("ce-statuscode".to_owned(), "500".to_owned()));
    }
    replica.ingest.submit(answer).await.unwrap();
    let counted = counts(&pool).await;
    assert_eq!((counted.seen, counted.dropped["error_status"]), (1, 1));
    let column = Value::Number(7.0);
    assert_eq!(profile_of(&pool).await.rows(), 0, "{column:?} was not counted");
    replica.stop().await;
}
