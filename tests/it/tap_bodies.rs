//! Bodies as no decoder wants them: they pass untouched, are counted once, and take no memory for long.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::tap_support::{ModelServer, Tapped, body_of, post, raw, tap_with};
use crate::tap_wire::WireServer;

const ANSWER: &[u8] = br#"{"predictions":[1]}"#;

/// A POST of bytes.
fn post_bytes(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = post("/v1/models/m:predict", headers, "");
    let text = String::from_utf8(request).unwrap();
    request = text.replace("Content-Length: 0", &format!("Content-Length: {}", body.len())).into_bytes();
    request.extend_from_slice(body);
    request
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `seen = kept + sampled_out + dropped` in the ledger and in the metrics, and nothing is held any more.
async fn check_identity(tapped: &Tapped, model: &str) -> u64 {
    for decoded in tapped.decode_all() {
        decoded.ticket.kept();
    }
    let losses = tapped.settled(model).await.losses;
    let dropped: u64 = losses.dropped.values().sum();
    assert_eq!(losses.seen, losses.kept + losses.sampled_out + dropped, "{losses:?}");
    let text = tapped.metrics.encode().unwrap();
    let counted = |name: &str| -> u64 {
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(&format!("model=\"{model}\"")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    assert_eq!(counted("driftline_predictions_seen_total"), losses.seen);
    assert_eq!(counted("driftline_predictions_kept_total"), losses.kept);
    assert_eq!(counted("driftline_predictions_sampled_out_total"), losses.sampled_out);
    assert_eq!(counted("driftline_predictions_dropped_total"), dropped);
    assert_eq!(counted("driftline_prediction_answers_total"), losses.seen, "each tells its traffic once");
    assert!(text.contains("driftline_tap_queue_bytes 0"), "{text}");
    losses.seen
}

#[tokio::test]
async fn truncated_oversized_deep_bombed_mislabelled_and_binary_bodies_pass_untouched() {
    let server = WireServer::start().await;
    let tapped = tap_with(server.addr, "  traceparent: false\n  body_limit: 256KiB\n").await;
    let json = "Content-Type: application/json\r\n";
    let gzipped = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000, "a bomb that passes as a small body");
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        (json, br#"{"instances":[[1"#.to_vec()),
        (json, format!(r#"{{"instances":[[1]],"pad":"{}"}}"#, "x".repeat(1 << 20)).into_bytes()),
        (json, "[".repeat(10_000).into_bytes()),
        (json, format!(r#"{{"instances":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000)).into_bytes()),
        (gzipped, bomb),
        (gzipped, br#"{"instances":[[1]]}"#.to_vec()),
        (json, gzip(br#"{"instances":[[1]]}"#)),
        ("Content-Type: image/png\r\nContent-Encoding: br, zstd\r\n", br#"{"instances":[[1]]}"#.to_vec()),
        (json, b"{\"instances\":[[\"\xff\xfe\x80\"]]}".to_vec()),
        (json, vec![0; 5000]),
        (json, Vec::new()),
        (json, br#"{"instances":[[1]]}"#.to_vec()),
    ];
    let count = bodies.len() as u64;
    for (headers, body) in bodies {
        let answer = raw(tapped.addr, &post_bytes(headers, &body)).await;
        assert_eq!(body_of(&answer), ANSWER);
        let seen = server.take().remove(0);
        assert!(body_of(&seen) == body, "{headers}: the model server got another body");
    }
    assert_eq!(check_identity(&tapped, "m").await, count);
}

#[tokio::test]
async fn a_length_that_lies_is_an_incomplete_request_and_no_more() {
    let server = ModelServer::start().await;
    let tapped = tap_with(server.addr, "").await;
    // More is announced than comes.
    let mut stream = TcpStream::connect(tapped.addr).await.unwrap();
    let head = "POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(br#"{"instances":[[1]]}"#).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    tapped.dropped("m", "client_disconnected").await;
    // Less is announced than comes: the rest is another request, and none.
    let request = b"POST /v1/models/slow:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 19\r\n\r\n{\"instances\":[[1]]}and more\r\n\r\n";
    let answer = raw(tapped.addr, request).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("HTTP/1.1 400"), "{text}");
    assert_eq!(check_identity(&tapped, "slow").await, 1);
    // Two lengths, or a length beside chunks, are how requests are smuggled.
    let chunked = "Transfer-Encoding: chunked\r\n";
    for headers in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: x\r\n",
        "Content-Length: -1\r\n",
        &format!("Content-Length: 3\r\n{chunked}"),
        &format!("{chunked}{chunked}"),
        "Transfer-Encoding: chunked, identity\r\n",
        "X: folded\r\n line\r\n",
        "X: bare\n",
    ] {
        let request = format!("POST /echo HTTP/1.1\r\nHost: h\r\n{headers}\r\n3\r\nabc\r\n0\r\n\r\n");
        let answer = raw(tapped.addr, request.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{headers}: {}", String::from_utf8_lossy(&answer));
    }
    // A chunk that is none is found when it comes: nothing after it passes.
    let request =
        format!("POST /v1/models/custom:predict HTTP/1.1\r\nHost: h\r\n{chunked}\r\n3\r\nabc\r\nX\r\n");
    let answer = raw(tapped.addr, request.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_model_server_that_lies_about_a_length_or_never_answers_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = tap_with(listener.local_addr().unwrap(), "").await;
    let mut server = JoinSet::new();
    server.spawn(async move {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"predictions\":[1]}",
            "HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            "no HTTP at all\r\n\r\n",
            "",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(br#"{"instances":[[1]]}"#) {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        // The last one is read, and never answered.
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        stream.read_to_end(&mut request).await.unwrap();
    });
    for status in ["200", "502", "200", "502", "502"] {
        let answer = raw(tapped.addr, &post("/v1/models/m:predict", "", r#"{"instances":[[1]]}"#)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {answer}");
    }
    assert_eq!(check_identity(&tapped, "m").await, 5);
    let mut client = TcpStream::connect(tapped.addr).await.unwrap();
    client.write_all(&post("/v1/models/slow:predict", "", r#"{"instances":[[1]]}"#)).await.unwrap();
    while tapped.settled_or_nothing("slow").0 == 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    tapped.dropped("slow", "client_disconnected").await;
    // It saw the client leave: its read has ended.
    server.join_next().await.unwrap().unwrap();
    assert_eq!(check_identity(&tapped, "slow").await, 1);
}

#[tokio::test]
async fn a_body_that_trickles_is_copied_within_its_budget() {
    let server = WireServer::start().await;
    let tapped = tap_with(server.addr, "  queue_bytes: 64KiB\n").await;
    let mut streams = Vec::new();
    for i in 0..30 {
        let mut stream = TcpStream::connect(tapped.addr).await.unwrap();
        let head = format!(
            "POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nX-Request-Id: {i}\r\nConnection: close\r\nContent-Length: 8000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let piece = " ".repeat(100);
    for _ in 0..79 {
        for stream in &mut streams {
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
        assert!(tapped.metric("driftline_tap_queue_bytes") <= 65_536.0);
    }
    let mut last = String::new();
    write!(last, "{:<100}", r#"{"instances":[[1]]}"#).unwrap();
    for stream in &mut streams {
        stream.write_all(last.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(body_of(&answer), ANSWER);
    }
    let losses = tapped.settled_or_nothing("m");
    assert!(losses.1 > 0, "not all of it fits");
    assert_eq!(check_identity(&tapped, "m").await, 30);
}

/// Resident memory of a process in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Takes a gigabyte and gives one back, without keeping either.
async fn big_server() -> (std::net::SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::with_capacity(1 << 20, stream);
            let mut buffer = vec![b'7'; 1 << 20];
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let mut rest = GIGABYTE;
            while rest > 0 {
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0);
                rest -= read;
            }
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {GIGABYTE}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            for _ in 0..GIGABYTE / buffer.len() {
                stream.write_all(&buffer).await.unwrap();
            }
        }
    });
    (addr, tasks)
}

const GIGABYTE: usize = 1 << 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_passes_both_ways_in_flat_memory() {
    let (upstream, _tasks) = big_server().await;
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (proxy, admin) = (free(), free());
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("driftline.yaml");
    // The database is away: predictions pass without it.
    let text = format!(
        "listen: {{proxy: '{proxy}', admin: '{admin}'}}\ndatabase: {{url: 'postgres://nobody@127.0.0.1:1/none'}}\ntap: {{upstream: 'http://{upstream}'}}\nmodels: [{{name: m}}]\n"
    );
    std::fs::write(&settings, text).unwrap();
    let driftline = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(["run", "--config"])
        .arg(&settings)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = driftline.id().unwrap();
    crate::support::wait_for("the proxy to listen", || async { TcpStream::connect(proxy).await.ok() }).await;
    let before = resident(pid);
    let client = TcpStream::connect(proxy).await.unwrap();
    let (mut reader, mut writer) = client.into_split();
    let sending = async {
        let head =
            format!("POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: {GIGABYTE}\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        let buffer = vec![b'1'; 1 << 20];
        for _ in 0..GIGABYTE / buffer.len() {
            writer.write_all(&buffer).await.unwrap();
        }
    };
    let receiving = async {
        let mut buffer = vec![0; 1 << 20];
        let mut received = 0;
        while received < GIGABYTE {
            let read = reader.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{received} bytes");
            received += read;
        }
    };
    tokio::join!(sending, receiving);
    let grown = resident(pid).saturating_sub(before);
    // The copy goes up to `tap.body_limit`, 8 MiB, on each side.
    assert!(grown < 64 << 20, "the process has grown by {grown} bytes");
}
