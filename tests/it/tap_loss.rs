//! The loss identity under a mixed load: whatever happens to an exchange, it is settled once.

use driftline::tap::{DecodedExchange, Received};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::tap_support::{ModelServer, body_of, post, raw, shared, tap_with};

const CLIENTS: usize = 16;
const EACH: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_exchange_is_settled_once_under_a_mixed_load() {
    let server = ModelServer::start().await;
    let mut tapped = tap_with(server.addr, "  sample: 0.7\n  queue_bytes: 64KiB\n  body_limit: 4KiB\n").await;
    let (ledger, addr) = (tapped.ledger.clone(), tapped.addr);
    let other = tap_with(server.addr, "").await;
    let receiver = std::mem::replace(&mut tapped.receiver, other.receiver);
    let decoder = std::thread::spawn(move || {
        let mut kept = 0_u64;
        loop {
            match receiver.recv_timeout(std::time::Duration::from_mins(1)) {
                Received::Exchange(recorded) => {
                    if let Ok(DecodedExchange { ticket, .. }) =
                        recorded.decode(&driftline::decode::Naming::default())
                    {
                        ticket.kept();
                        kept += 1;
                    }
                }
                Received::Nothing => {}
                Received::Closed => return kept,
            }
        }
    });
    let good = r#"{"instances":[[1,2]]}"#;
    let long = shared(format!(r#"{{"instances":[[1]],"pad":"{}"}}"#, "x".repeat(20_000)));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let long = long.clone();
        clients.spawn(async move {
            for i in 0..EACH {
                let id =
                    format!("X-Request-Id: {client}-{i}\r\nX-Event-Time: 2026-01-01T00:0{}:00Z\r\n", i % 4);
                let path = "/v1/models/m:predict";
                match (client + i) % 6 {
                    0..=2 => {
                        let answer = raw(addr, &post(path, &id, good)).await;
                        assert_eq!(body_of(&answer), br#"{"predictions":[1]}"#);
                    }
                    3 => drop(raw(addr, &post(path, &id, &long)).await),
                    4 => drop(raw(addr, &post(path, &id, "nonsense")).await),
                    _ => {
                        // Half a request, then gone.
                        let mut stream = TcpStream::connect(addr).await.unwrap();
                        let request = post(path, &id, good);
                        stream.write_all(&request[..request.len() - 5]).await.unwrap();
                    }
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    // Ends all connections, so that whatever the cut requests came to has been settled.
    tapped.shutdown.cancel();
    tapped.running.join_next().await.unwrap().unwrap();
    let kept = decoder.join().unwrap();
    let losses = tapped.settled("m").await.losses;
    assert_eq!(losses.kept, kept);
    assert_eq!(losses.seen, losses.kept + losses.sampled_out + losses.dropped.values().sum::<u64>());
    let whole =
        (0..CLIENTS).flat_map(|client| (0..EACH).map(move |i| (client + i) % 6)).filter(|kind| *kind != 5);
    assert!(losses.seen >= whole.count() as u64, "{losses:?}");
    assert!(losses.kept > 0 && losses.sampled_out > 0, "{losses:?}");
    assert!(losses.dropped["truncated"] > 0 && losses.dropped["not_json"] > 0, "{losses:?}");
    let counted = |name: &str| {
        let text = tapped.metrics.encode().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    assert_eq!(counted("driftline_predictions_seen_total{model=\"m\"}"), losses.seen);
    assert_eq!(
        counted("driftline_predictions_dropped_total{model=\"m\""),
        losses.dropped.values().sum::<u64>()
    );
    assert_eq!(counted("driftline_tap_queue_bytes"), 0);
    assert_eq!(ledger.snapshot().iter().map(|minute| minute.pending).sum::<u64>(), 0);
}
