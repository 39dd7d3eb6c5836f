//! Ingestion: what is acknowledged is stored, and a second delivery counts nothing, whatever the replica.

use driftline::profile;
use driftline::tap::ingest::{Content, Stored};
use futures_util::future::join_all;

use crate::ingest_support::{
    Replica, arrival, counts, database, exchange, kept, message, number, one, reference, request,
};

const TAKEN: Stored = Stored { duplicate: false, taken: 1, refused: 0 };
const KNOWN: Stored = Stored { duplicate: true, taken: 0, refused: 0 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_stored() {
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "");
    for number in 0..3 {
        assert_eq!(replica.ingest.submit(one(number)).await.unwrap(), TAKEN);
        // At once, and not at the next flush.
        let stored = u64::try_from(number).unwrap() + 1;
        assert_eq!(counts(&pool).await, kept(stored, stored));
    }
    let position = driftline::store::source_position::all(&pool, "test").await.unwrap();
    assert_eq!(position["file"], "2");
    assert_eq!(number(&pool, "select count(*) from captured_row").await, 3);
    assert_eq!(replica.metrics.tap.kept.with_label_values(&["m"]).get(), 3);
    assert_eq!(replica.metrics.ingest.messages.with_label_values(&["test", "stored"]).get(), 3);

    // A minute that is still open grows in place.
    let parts = number(&pool, "select count(*) from profile_part").await;
    assert_eq!(parts, 1, "three rows of one minute");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_delivered_again_counts_once_at_whatever_replica() {
    let (pool, url) = database().await;
    let replicas = [Replica::start(&url, ""), Replica::start(&url, "")];
    // Every message three times, to both replicas, all at once.
    let submitted = join_all((0..900).map(|at| replicas[at % 2].ingest.submit(one(at / 3)))).await;
    let stored: Vec<Stored> = submitted.into_iter().map(Result::unwrap).collect();
    assert_eq!(stored.iter().filter(|stored| **stored == TAKEN).count(), 300);
    assert_eq!(stored.iter().filter(|stored| **stored == KNOWN).count(), 600);
    assert_eq!(counts(&pool).await, kept(300, 300));
    for replica in &replicas {
        let taken = replica.metrics.ingest.items.with_label_values(&["taken"]).get();
        let kept = replica.metrics.tap.kept.with_label_values(&["m"]).get();
        assert_eq!(taken, kept);
    }

    // And after a restart.
    for replica in replicas {
        replica.stop().await;
    }
    let replica = Replica::start(&url, "");
    assert_eq!(replica.ingest.submit(one(7)).await.unwrap(), KNOWN);
    assert_eq!(counts(&pool).await, kept(300, 300));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_with_ids_count_once_though_the_message_has_no_key() {
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "");
    let sent = |body: &str| {
        let headers = vec![("driftline-format".to_owned(), "predictions".to_owned())];
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        replica.ingest.submit(message(None, Content::Wire { headers, body }))
    };
    let first = r#"[{"model":"m","id":"a","features":{"x":1}},{"model":"m","id":"b","features":{"x":2}}]"#;
    let more = r#"[{"model":"m","id":"b","features":{"x":2}},{"model":"m","id":"c","features":{"x":3}}]"#;
    assert_eq!(sent(first).await.unwrap(), Stored { duplicate: false, taken: 2, refused: 0 });
    assert_eq!(sent(first).await.unwrap(), KNOWN);
    assert_eq!(sent(more).await.unwrap(), TAKEN);
    let nameless = r#"{"model":"m","features":{"x":1}}"#;
    assert_eq!(sent(nameless).await.unwrap(), TAKEN);
    assert_eq!(sent(nameless).await.unwrap(), TAKEN);
    let stranger = r#"{"model":"stranger","features":{"x":1}}"#;
    assert_eq!(sent(stranger).await.unwrap(), Stored { duplicate: false, taken: 0, refused: 1 });
    assert_eq!(sent("{").await.unwrap().refused, 1);
    assert_eq!(counts(&pool).await, kept(5, 5));
    assert_eq!(replica.metrics.tap.unmonitored.get(), 1);
    assert_eq!(replica.metrics.ingest.items.with_label_values(&["duplicate"]).get(), 3);
    let exported = replica.metrics.encode().unwrap();
    assert!(!exported.contains("stranger"), "the name of a stranger is no label");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_profile_holds_the_values_and_grows_over_batches_restarts_and_backlogs() {
    let (pool, url) = database().await;
    for round in 0..3 {
        let replica = Replica::start(&url, "");
        // More minutes than are held open: a backlog.
        for part in 0..3 {
            let exchanges = (0..1000).map(|i| {
                let number = round * 3000 + part * 1000 + i;
                let mut exchange = exchange(number);
                exchange.event_time =
                    arrival() - chrono::TimeDelta::minutes(i64::try_from(number % 2500).unwrap());
                exchange
            });
            let stored =
                replica.ingest.submit(message(None, Content::Exchanges(exchanges.collect()))).await.unwrap();
            assert_eq!(stored.taken, 1000);
        }
        replica.stop().await;
    }
    assert_eq!(counts(&pool).await, kept(9000, 9000));
    let contents: Vec<Vec<u8>> =
        sqlx::query_scalar("select content from profile_part").fetch_all(&pool).await.unwrap();
    let baseline = reference();
    let mut merged = profile::Profile::empty(baseline.layout());
    for content in &contents {
        merged.merge(&profile::decode(baseline.layout(), content).unwrap()).unwrap();
    }
    assert_eq!(
        (merged.rows(), merged.columns()[0].usable(), merged.columns()[1].usable()),
        (9000, 9000, 9000)
    );
    assert_eq!(merged.columns()[0].above_max, 9000 - 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_that_cannot_be_right_are_not_believed() {
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "sink: {event_age: 6h}\n");
    let day = chrono::TimeDelta::days(1);
    let mut id = 0;
    for (time, source) in [
        (arrival() + day, "test"),
        (arrival() + day, "events"),
        (arrival() - day, "events"),
        (arrival() - day, "test"),
        (arrival() - chrono::TimeDelta::hours(5), "events"),
        (arrival() + chrono::TimeDelta::minutes(4), "test"),
    ] {
        id += 1;
        let mut exchange = exchange(id);
        exchange.event_time = time;
        let mut message = message(None, Content::Exchanges(vec![exchange]));
        message.source = source.into();
        assert_eq!(replica.ingest.submit(message).await.unwrap(), TAKEN);
    }
    let times: Vec<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("select event_time from captured_row order by row_id")
            .fetch_all(&pool)
            .await
            .unwrap();
    let hour = chrono::TimeDelta::hours(1);
    let minute = chrono::TimeDelta::minutes(1);
    let now = arrival();
    assert_eq!(times, [now, now, now, now - day, now - hour * 5, now + minute * 4], "files may be old");
    assert_eq!(replica.metrics.tap.event_time_invalid.with_label_values(&["m"]).get(), 3);
    assert_eq!(counts(&pool).await, kept(6, 6));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_the_database_cannot_hold_loses_its_message_and_no_other() {
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "");
    let mut odd = exchange(1);
    odd.id = "a\0b".to_owned();
    let odd = message(Some("odd".into()), Content::Exchanges(vec![odd]));
    let (stored, others) = tokio::join!(
        replica.ingest.submit(odd),
        join_all((10..40).map(|number| replica.ingest.submit(one(number))))
    );
    assert!(others.iter().all(|stored| *stored == Ok(TAKEN)), "{others:?}");
    let stored = stored.unwrap();
    assert_eq!((stored.taken, stored.refused), (0, 1));
    let counted = counts(&pool).await;
    assert_eq!((counted.seen, counted.kept, counted.rows), (31, 30, 30));
    assert_eq!(counted.dropped["unstorable"], 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_message_is_not_stored() {
    let (pool, url) = crate::support::database_with_url().await;
    let (mut door, through) = crate::outage::Door::shut(&url);
    let replica = Replica::start(&through, "");
    let withdrawn = tokio::time::timeout(std::time::Duration::from_millis(50), replica.ingest.submit(one(1)));
    assert!(withdrawn.await.is_err(), "the database is away");
    door.open();
    driftline::app::register_baseline(&pool, &reference()).await.unwrap();
    assert_eq!(replica.ingest.submit(one(2)).await.unwrap(), TAKEN);
    let ids: Vec<String> =
        sqlx::query_scalar("select row_id from captured_row").fetch_all(&pool).await.unwrap();
    assert_eq!(ids, ["p-00002"]);
    assert_eq!(replica.metrics.ingest.waiting_bytes.get(), 0, "its room is given back");
    replica.stop().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_forgotten_in_time_and_past_their_bound() {
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "");
    for number in 0..20 {
        replica.ingest.submit(one(number)).await.unwrap();
    }
    replica.stop().await;
    let keys = "select count(*) from ingested where source = 'test'";
    assert_eq!(number(&pool, keys).await, 20);
    let marks = number(&pool, "select count(*) from ingested where source <> 'test'").await;
    assert_eq!(marks, 1, "the marks of batches replace one another");
    let long_ago = arrival() - chrono::TimeDelta::days(10_000);
    driftline::store::ingested::expire(&pool, long_ago, 1000).await.unwrap();
    assert_eq!(number(&pool, keys).await, 20);
    driftline::store::ingested::expire(&pool, long_ago, 5).await.unwrap();
    assert!(number(&pool, keys).await <= 5);
    let later = arrival() + chrono::TimeDelta::days(10_000);
    driftline::store::ingested::expire(&pool, later, 1000).await.unwrap();
    assert_eq!(number(&pool, keys).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decoded_is_lost_with_its_reason() {
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "");
    let broken = crate::ingest_support::event("request", "e-1", "{oops");
    assert_eq!(replica.ingest.submit(broken).await.unwrap(), TAKEN, "its answer is still to come");
    let answer = crate::ingest_support::response("e-1", 1);
    assert_eq!(replica.ingest.submit(answer).await.unwrap(), TAKEN);
    let counted = counts(&pool).await;
    assert_eq!((counted.seen, counted.kept, counted.rows), (1, 0, 0));
    assert_eq!(counted.dropped["not_json"], 1);

    let answer = crate::ingest_support::event("response", "e-2", "{oops");
    replica.ingest.submit(answer).await.unwrap();
    replica.ingest.submit(request("e-2", 2)).await.unwrap();
    let counted = counts(&pool).await;
    assert_eq!((counted.seen, counted.kept, counted.rows), (2, 1, 2), "the features are kept");
    let note = replica.metrics.tap.notes.with_label_values(&["m", "response_undecoded"]);
    assert_eq!(note.get(), 1);
    replica.stop().await;
}
