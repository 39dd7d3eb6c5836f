//! What the settings of the tap do: routes, limits of time and number, ids that are added, what is told of traffic.

use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::wait_for;
use crate::tap_support::{ModelServer, body_of, post, raw, tap, tap_with};
use crate::tap_wire::{Peer, WireServer, curl};

const PREDICT: &str = r#"{"instances":[[1]]}"#;

fn text(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).into_owned()
}

#[tokio::test]
async fn routes_choose_the_model_server_and_may_name_the_model() {
    let (default, by_path, by_host) =
        (ModelServer::start().await, WireServer::start().await, WireServer::start().await);
    let lines = format!(
        "  routes:\n    - {{path_prefix: /v1/models/m, upstream: 'http://{}'}}\n    - {{host: other.example, upstream: 'http://{}', model: custom}}\n",
        by_path.addr, by_host.addr
    );
    let tapped = tap_with(default.addr, &lines).await;
    assert!(text(&raw(tapped.addr, &post("/echo", "", "x")).await).contains("1 bytes"));
    raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await;
    assert!(
        text(&raw(tapped.addr, &post("/v1/models/mm:predict", "", PREDICT)).await).contains("x-served-by")
    );
    let to_host = ["-H", "Host: Other.Example:80", "-d", PREDICT];
    let answer = text(&curl(tapped.addr, "/v2/models/unlisted/infer", &to_host).await);
    assert!(answer.ends_with("plain"), "{answer}");
    assert_eq!((by_path.take().len(), by_host.take().len()), (1, 1));
    // That model server speaks no HTTP/2, and is not asked in anything else unless the settings say so.
    let answer = text(
        &curl(
            tapped.addr,
            "/v2/models/unlisted/infer",
            // Without a body: this curl takes an answer that comes while it still sends for an error of the stream.
            &["-H", "Host: Other.Example:80", "-X", "POST", "--http2-prior-knowledge"],
        )
        .await,
    );
    assert!(answer.starts_with("HTTP/2 502"), "{answer}");
    let mut models: Vec<_> = tapped.ledger.snapshot().iter().map(|minute| minute.model.to_string()).collect();
    models.dedup();
    assert_eq!(models, ["custom", "m"]);
    assert_eq!(tapped.settled_or_nothing("custom").0, 2);
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up_and_an_idle_connection_is_not() {
    let server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "  header_timeout: 200ms\n").await;
    let request = b"GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut idle = TcpStream::connect(tapped.addr).await.unwrap();
    idle.write_all(request).await.unwrap();
    let mut answer = vec![0; 1024];
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    for slow in ["G", "GET /echo HTTP/1.1\r\nHost: h\r\nX-Slow: ", "PRI * HTTP/9"] {
        let mut loris = TcpStream::connect(tapped.addr).await.unwrap();
        loris.write_all(slow.as_bytes()).await.unwrap();
        if slow.starts_with("PRI") {
            continue;
        }
        let mut rest = Vec::new();
        // Ends only because the proxy closes the connection.
        loris.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
    idle.write_all(request).await.unwrap();
    assert!(idle.read(&mut answer).await.unwrap() > 0, "idle, and still open after the others were closed");
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_after_the_idle_timeout() {
    let mut server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "  idle_timeout: 150ms\n  header_timeout: 50ms\n").await;
    let mut busy = TcpStream::connect(tapped.addr).await.unwrap();
    busy.write_all(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let frames = server.streams.recv().await.unwrap();
    let mut never_used = TcpStream::connect(tapped.addr).await.unwrap();
    let mut used = TcpStream::connect(tapped.addr).await.unwrap();
    used.write_all(b"GET /204 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let (mut nothing, mut answer) = (Vec::new(), Vec::new());
    never_used.read_to_end(&mut nothing).await.unwrap();
    used.read_to_end(&mut answer).await.unwrap();
    assert!(nothing.is_empty() && answer.starts_with(b"HTTP/1.1 204"), "{}", text(&answer));
    // A request under way is no idleness, however long it takes.
    frames.send(Ok(Frame::data("late".into()))).unwrap();
    drop(frames);
    busy.read_to_end(&mut answer).await.unwrap();
    assert!(text(&answer).contains("late"), "{}", text(&answer));
}

#[tokio::test]
async fn a_request_may_be_limited_in_time_before_and_after_its_answer_has_begun() {
    let mut server = ModelServer::start().await;
    // Accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lines = format!(
        "  request_timeout: 300ms\n  routes:\n    - {{path_prefix: /v2/, upstream: 'http://{0}'}}\n    - {{path_prefix: /x.Y, upstream: 'http://{0}'}}\n",
        silent.local_addr().unwrap()
    );
    let tapped = tap_with(server.addr, &lines).await;
    let answer = text(&raw(tapped.addr, &post("/v2/models/m/infer", "", "{}")).await);
    assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer}");
    assert!(answer.contains("x-driftline-error: upstream_timeout"), "{answer}");
    tapped.dropped("m", "upstream_timeout").await;
    let answer = text(&raw(tapped.addr, &post("/x.Y/Z", "Content-Type: application/grpc\r\n", "")).await);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status: 4"), "{answer}");
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client.write_all(&post("/v1/models/slow/:predict", "", PREDICT)).await.unwrap();
    let frames = server.streams.recv().await.unwrap();
    frames.send(Ok(Frame::data("{".into()))).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200") && !answer.ends_with(b"0\r\n\r\n"), "{}", text(&answer));
    frames.closed().await;
    tapped.dropped("slow", "upstream_timeout").await;
    assert!(
        (tapped.metric("driftline_prediction_answers_total{code=\"504\",model=\"m\"}") - 1.0).abs() < 1e-9
    );
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_one_to_end() {
    let mut server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "  max_connections: 1\n").await;
    let mut first = TcpStream::connect(tapped.addr).await.unwrap();
    first.write_all(b"GET /stream HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    let frames = server.streams.recv().await.unwrap();
    let mut second = TcpStream::connect(tapped.addr).await.unwrap();
    second.write_all(&post("/v1/models/m:predict", "", PREDICT)).await.unwrap();
    frames.send(Ok(Frame::data("first".into()))).unwrap();
    let mut answer = Vec::new();
    while !text(&answer).contains("first") {
        assert!(first.read_buf(&mut answer).await.unwrap() > 0);
    }
    // The second was accepted by the system alone.
    assert!(tapped.ledger.snapshot().is_empty());
    drop(frames);
    first.read_to_end(&mut answer).await.unwrap();
    answer.clear();
    second.read_to_end(&mut answer).await.unwrap();
    assert_eq!(body_of(&answer), br#"{"predictions":[1]}"#);
}

#[tokio::test]
async fn heads_over_the_limit_are_refused_and_those_under_it_pass() {
    let server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "  header_bytes: 16KiB\n").await;
    for (bytes, status) in [(12_000, "200"), (40_000, "431")] {
        let header = format!("X-Large: {}\r\n", "z".repeat(bytes));
        let answer = text(&raw(tapped.addr, &post("/echo", &header, "")).await);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{bytes}: {}", &answer[..60]);
    }
    let many = (0..90).map(|i| format!("X-{i}: {i}\r\n")).collect::<Vec<_>>().concat();
    assert!(text(&raw(tapped.addr, &post("/echo", &many, "")).await).contains("x-89: 89"));
}

#[tokio::test]
async fn ids_are_added_where_the_settings_say_so_and_found_again() {
    let server = WireServer::start().await;
    let tapped = tap_with(server.addr, "  request_id: true\n").await;
    let answer = text(&raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await);
    let seen = text(&server.take()[0]);
    let value = |text: &str, name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line[name.len()..].trim().to_owned()
    };
    let id = value(&seen, "x-request-id:");
    assert_eq!(value(&answer, "x-request-id:"), id);
    let parts: Vec<_> = value(&seen, "traceparent:").split('-').map(str::len).collect();
    assert_eq!(parts, [2, 32, 16, 2]);
    // What the client gives stays, and is not repeated.
    let own =
        "X-Request-Id: mine\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n";
    let answer = text(&raw(tapped.addr, &post("/v1/models/m:predict", own, PREDICT)).await);
    let seen = text(&server.take()[0]);
    assert!(
        seen.contains(own) && !seen.contains("x-request-id") && !answer.contains("equest-"),
        "{seen}{answer}"
    );
    // Nothing is added to what is no prediction.
    raw(tapped.addr, &post("/v1/models/stranger:predict", "", PREDICT)).await;
    raw(tapped.addr, &post("/other", "", PREDICT)).await;
    for seen in server.take() {
        assert!(
            !text(&seen).contains("x-request-id") && !text(&seen).contains("traceparent"),
            "{}",
            text(&seen)
        );
    }
    let ids: Vec<_> = tapped.decode_all().into_iter().map(|one| one.exchange.id).collect();
    assert_eq!(ids, [id, "mine".to_owned()]);
}

#[tokio::test]
async fn the_trace_id_that_is_given_is_the_id_of_the_prediction() {
    let server = WireServer::start().await;
    let tapped = tap(server.addr).await;
    raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await;
    let seen = text(&server.take()[0]);
    let decoded = tapped.decode_all();
    assert!(seen.contains(&format!("traceparent: 00-{}-", decoded[0].exchange.id)), "{seen}");
    assert!(seen.contains("-01\r\n"), "sampled, as a model server would decide itself: {seen}");
}

#[tokio::test]
async fn every_prediction_tells_its_traffic_whatever_becomes_of_it() {
    let mut server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "  body_limit: 1KiB\n  sample: 0.000001\n").await;
    // Left out by the sampling rate, and counted all the same.
    for _ in 0..3 {
        raw(tapped.addr, &post("/v1/models/m:predict", "", PREDICT)).await;
    }
    raw(tapped.addr, &post("/v2/models/m/generate", "", &"x".repeat(50_000))).await;
    let client = TcpStream::connect(tapped.addr).await.unwrap();
    let mut client = client;
    client.write_all(&post("/v1/models/slow/:predict", "", PREDICT)).await.unwrap();
    let frames = server.streams.recv().await.unwrap();
    assert!((tapped.metric("driftline_predictions_in_flight{model=\"slow\"}") - 1.0).abs() < 1e-9);
    frames.send(Ok(Frame::data("12345".into()))).unwrap();
    let mut answer = Vec::new();
    while !text(&answer).contains("12345") {
        assert!(client.read_buf(&mut answer).await.unwrap() > 0);
    }
    drop(client);
    frames.closed().await;
    tapped.settled("slow").await;
    let losses = tapped.settled("m").await.losses;
    assert_eq!((losses.seen, losses.sampled_out, losses.dropped.len()), (4, 4, 0));
    for (metric, value) in [
        ("driftline_prediction_answers_total{code=\"200\",model=\"m\"}", 4.0),
        ("driftline_prediction_answers_total{code=\"200\",model=\"slow\"}", 1.0),
        ("driftline_request_bytes_total{model=\"m\"}", 3.0 * PREDICT.len() as f64 + 50_000.0),
        ("driftline_request_bytes_total{model=\"slow\"}", PREDICT.len() as f64),
        ("driftline_response_bytes_total{model=\"slow\"}", 5.0),
        ("driftline_upstream_complete_seconds_count{model=\"m\"}", 4.0),
        ("driftline_predictions_in_flight{model=\"slow\"}", 0.0),
        ("driftline_tap_queue_bytes", 0.0),
    ] {
        assert!((tapped.metric(metric) - value).abs() < 1e-9, "{metric}: {}", tapped.metric(metric));
    }
}

#[tokio::test]
async fn a_grpc_prediction_is_the_models_that_its_message_names() {
    let (_server, addr) = Peer::serve("serve-grpc").await;
    let tapped = tap(addr).await;
    // Asks for the model `m`.
    Peer::call("call-grpc", tapped.addr).await;
    assert_eq!(tapped.settled_or_nothing("m").0, 1);
    for (metric, value) in [
        ("driftline_prediction_grpc_answers_total{grpc_status=\"0\",model=\"m\"}", 1.0),
        ("driftline_request_bytes_total{model=\"m\"}", 8.0),
        ("driftline_predictions_in_flight{model=\"m\"}", 0.0),
        ("driftline_exchanges_unmonitored_total", 0.0),
    ] {
        assert!((tapped.metric(metric) - value).abs() < 1e-9, "{metric}: {}", tapped.metric(metric));
    }
    // The route may say so as well, whatever the message names.
    let lines = format!(
        "  routes:\n    - {{path_prefix: /inference.GRPCInferenceService, upstream: 'http://{addr}', model: custom}}\n"
    );
    let tapped = tap_with(addr, &lines).await;
    Peer::call("call-grpc", tapped.addr).await;
    assert_eq!((tapped.settled_or_nothing("custom").0, tapped.settled_or_nothing("m").0), (1, 0));
}

#[tokio::test]
async fn a_filling_queue_sheds_by_id_alone() {
    let server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "  queue_bytes: 64KiB\n  traceparent: false\n").await;
    // Nobody decodes: the queue fills, and the share that is kept falls with it.
    let mut kept = Vec::new();
    for i in 0..200 {
        let before = tapped.settled_or_nothing("m");
        let id = format!("X-Request-Id: req-{i}\r\n");
        raw(tapped.addr, &post("/v1/models/m:predict", &id, PREDICT)).await;
        wait_for("the exchange to be counted", || async {
            (tapped.settled_or_nothing("m").0 == before.0 + 1).then_some(())
        })
        .await;
        kept.push(tapped.settled_or_nothing("m").1 == before.1);
    }
    let share = tapped.metric("driftline_tap_keep_share");
    assert!((0.01..0.5).contains(&share), "{share}");
    let losses = tapped.ledger.snapshot().remove(0).losses;
    assert!(losses.dropped["shed"] > 50, "{losses:?}");
    assert!(!losses.dropped.contains_key("queue_full"), "{losses:?}");
    let decoded = tapped.decode_all();
    assert_eq!(decoded.len(), kept.iter().filter(|kept| **kept).count());
    // With room again everything is kept, also what was shed before.
    drop(decoded);
    let shed = kept.iter().position(|kept| !kept).unwrap();
    raw(tapped.addr, &post("/v1/models/m:predict", &format!("X-Request-Id: req-{shed}\r\n"), PREDICT)).await;
    assert_eq!(tapped.decode_all().len(), 1);
    wait_for("the share to be shown", || async {
        ((tapped.metric("driftline_tap_keep_share") - 1.0).abs() < 1e-9).then_some(())
    })
    .await;
}
