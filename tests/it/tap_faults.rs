//! What goes wrong around the tap: the client gets what it would have got, and the exchange is accounted for.

use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::tap_support::{ModelServer, body_of, now, post, raw, tap, tap_with};

const PREDICT: &str = r#"{"instances":[[1]]}"#;

#[tokio::test]
async fn a_prediction_is_recorded_with_its_rows_and_id() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let body = r#"{"id":"b-1","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4]]}]}"#;
    let time = "X-Event-Time: 2026-01-02T03:04:05Z\r\n";
    raw(tapped.addr, &post("/v2/models/m/infer", time, body)).await;
    raw(tapped.addr, &post("/v2/models/m/infer", "X-Request-Id: r-1\r\n", body)).await;
    raw(tapped.addr, &post("/v2/models/m/infer", "X-Event-Time: 2999-01-01T00:00:00Z\r\n", body)).await;
    raw(tapped.addr, &post("/my/model", "", PREDICT)).await;
    let decoded = tapped.decode_all();
    let of: Vec<_> = decoded.iter().map(|one| (one.exchange.id.as_str(), one.exchange.event_time)).collect();
    assert_eq!(of[..2], [("b-1", "2026-01-02T03:04:05Z".parse().unwrap()), ("r-1", now())]);
    assert_eq!(of[2], ("b-1", now()), "an event a thousand years ahead happened on arrival");
    let first = &decoded[0].exchange;
    assert_eq!((first.batch.rows, first.batch.features.len(), first.batch.outputs.len()), (2, 2, 1));
    assert_eq!(first.model_version.as_deref(), Some("2"));
    assert_eq!(decoded[3].exchange.model.as_str(), "custom");
    assert_eq!(decoded[3].exchange.id.len(), 32, "no id anywhere: the trace id that the request was given");
    for one in decoded {
        one.ticket.kept();
    }
    assert_eq!(tapped.settled("m").await.losses.kept, 3);
    let text = tapped.metrics.encode().unwrap();
    for line in [
        "driftline_event_time_invalid_total{model=\"m\"} 1",
        "driftline_proxy_overhead_seconds_count{model=\"m\"} 3",
        "driftline_upstream_duration_seconds_count{model=\"m\"} 3",
        "driftline_rows_total{model=\"m\"} 6",
        "driftline_proxy_in_flight 0",
        "driftline_tap_queue_bytes 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn an_absent_model_server_is_502_and_nothing_else() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = unused.local_addr().unwrap();
    drop(unused);
    let tapped = tap(addr).await;
    let answer = raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await;
    assert!(answer.starts_with(b"HTTP/1.1 502 Bad Gateway\r\n"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(body_of(&answer), b"");
    tapped.dropped("m", "upstream_unreachable").await;
    let grpc = raw(tapped.addr, &post("/x.Y/Z", "Content-Type: application/grpc\r\n", "")).await;
    let grpc = String::from_utf8(grpc).unwrap();
    assert!(grpc.starts_with("HTTP/1.1 200") && grpc.contains("grpc-status: 14"), "{grpc}");
}

#[tokio::test]
async fn a_reset_in_mid_body_reaches_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap(listener.local_addr().unwrap()).await;
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(PREDICT.as_bytes()) {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"predictions\"").await.unwrap();
    });
    let answer = raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(body_of(&answer).len() < 100);
    tapped.dropped("m", "upstream_reset").await;
}

#[tokio::test]
async fn the_model_server_sees_that_the_client_is_gone() {
    let mut server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client.write_all(&post("/v1/models/slow/:predict", "", PREDICT)).await.unwrap();
    let frames = server.streams.recv().await.unwrap();
    frames.send(Ok(Frame::data("{".into()))).unwrap();
    let mut head = [0; 16];
    client.read_exact(&mut head).await.unwrap();
    drop(client);
    frames.closed().await;
    tapped.dropped("slow", "client_disconnected").await;
}

#[tokio::test]
async fn a_cut_copy_is_counted_while_the_body_passes() {
    let server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "  body_limit: 1KiB\n").await;
    let body = format!(r#"{{"instances":[[1]],"pad":"{}"}}"#, "x".repeat(200_000));
    let request = post("/v1/models/m:predict", "", &body);
    assert_eq!(body_of(&raw(tapped.addr, &request).await), br#"{"predictions":[1]}"#);
    tapped.dropped("m", "truncated").await;
    // An answer that is too long leaves the features.
    let request = post("/v1/models/slow:predict", "", r#"{"instances":[[1]],"note":"long answer"}"#);
    assert_eq!(body_of(&raw(tapped.addr, &request).await).len(), 100_019);
    let decoded = tapped.decode_all();
    assert_eq!(decoded[0].notes.response_undecoded, Some("truncated"));
    assert_eq!(decoded[0].exchange.batch.features.len(), 1);
}

#[tokio::test]
async fn a_full_queue_drops_the_copy_and_forwards_the_prediction() {
    let server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "  queue_bytes: \"4096\"\n").await;
    for _ in 0..10 {
        let answer = raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await;
        assert_eq!(body_of(&answer), br#"{"predictions":[1]}"#);
    }
    let decoded = tapped.decode_all();
    assert!((1..10).contains(&decoded.len()));
    let kept = decoded.len() as u64;
    for one in decoded {
        one.ticket.kept();
    }
    let losses = tapped.settled("m").await.losses;
    assert_eq!((losses.seen, losses.kept), (10, kept));
    assert_eq!(losses.dropped.values().sum::<u64>(), 10 - kept);
    assert!(
        losses.dropped.keys().all(|reason| ["shed", "queue_full"].contains(&reason.as_str())),
        "{losses:?}"
    );
    raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await;
    assert_eq!(tapped.decode_all().len(), 1, "room again");
}

#[tokio::test]
async fn what_is_no_prediction_of_ours_passes_uncounted_or_counted_without_a_name() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    raw(tapped.addr, &post("/v2/models/stranger/infer", "", "{}")).await;
    raw(tapped.addr, &post("/v2/models/..%2F%00/infer", "", "{}")).await;
    raw(tapped.addr, &post("/invocations", "", "{}")).await;
    raw(tapped.addr, b"GET /v2/models/m HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!(tapped.ledger.snapshot(), []);
    let text = tapped.metrics.encode().unwrap();
    assert!(text.contains("driftline_exchanges_unmonitored_total 3"), "{text}");
    assert!(!text.contains("stranger"));
}

#[tokio::test]
async fn a_body_that_is_not_json_passes_and_is_counted() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let answer = raw(tapped.addr, &post("/v1/models/m:predict", "", "temp=21&wind=3")).await;
    assert_eq!(body_of(&answer), br#"{"predictions":[1]}"#);
    assert!(tapped.decode_all().is_empty());
    tapped.dropped("m", "not_json").await;
}

#[tokio::test]
async fn a_decoder_that_is_gone_does_not_matter_to_a_prediction() {
    let server = ModelServer::start().await;
    let mut tapped = tap(server.addr).await;
    let other = tap(server.addr).await;
    drop(std::mem::replace(&mut tapped.receiver, other.receiver));
    let answer = raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await;
    assert_eq!(body_of(&answer), br#"{"predictions":[1]}"#);
    tapped.dropped("m", "decoder_gone").await;
}

#[tokio::test]
async fn shutdown_finishes_what_is_in_flight() {
    let mut server = ModelServer::start().await;
    let mut tapped = tap(server.addr).await;
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client.write_all(&post("/v1/models/slow/:predict", "", PREDICT)).await.unwrap();
    let frames = server.streams.recv().await.unwrap();
    frames.send(Ok(Frame::data(r#"{"predictions":"#.into()))).unwrap();
    let mut answer = Vec::new();
    client.read_buf(&mut answer).await.unwrap();
    tapped.shutdown.cancel();
    // The listener is gone once this is refused; the exchange in flight goes on.
    while TcpStream::connect(tapped.addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    frames.send(Ok(Frame::data("[7]}".into()))).unwrap();
    drop(frames);
    client.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("[7]}"), "{}", String::from_utf8_lossy(&answer));
    tapped.running.join_next().await.unwrap().unwrap();
    assert_eq!(tapped.decode_all().len(), 1);
}
