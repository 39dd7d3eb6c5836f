//! Heads as clients, servers and attackers write them.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// Judgement of a request, and what is passed on of it.
fn request(bytes: &[u8], keep_upgrade: bool) -> Result<Option<(String, usize, String)>, Refusal> {
    let mut slots = [const { MaybeUninit::uninit() }; 8];
    let Some(head) = read_request(bytes, &mut slots)? else { return Ok(None) };
    let mut out = Vec::new();
    head.lines.pass(&mut out, keep_upgrade);
    let framing = match head.framing() {
        Framing::Length(length) => length.to_string(),
        Framing::Chunked(_) => "chunked".to_owned(),
        Framing::UntilClose => "until close".to_owned(),
    };
    Ok(Some((framing, head.lines.length, String::from_utf8_lossy(&out).into_owned())))
}

fn response(bytes: &[u8], is_head: bool) -> Result<Option<(u16, String, String)>, Refusal> {
    let mut slots = [const { MaybeUninit::uninit() }; 8];
    let Some(head) = read_response(bytes, &mut slots)? else { return Ok(None) };
    let mut out = Vec::new();
    head.lines.pass(&mut out, false);
    let framing = match head.framing(is_head) {
        Framing::Length(length) => length.to_string(),
        Framing::Chunked(_) => "chunked".to_owned(),
        Framing::UntilClose => "until close".to_owned(),
    };
    Ok(Some((head.status, framing, String::from_utf8_lossy(&out).into_owned())))
}

#[track_caller]
fn passes(headers: &str, keep_upgrade: bool, left: &str) {
    let head = format!("POST /a?b HTTP/1.1\r\n{headers}\r\n");
    let (_, length, out) = request(head.as_bytes(), keep_upgrade).unwrap().unwrap();
    assert_eq!((length, out.as_str()), (head.len(), format!("POST /a?b HTTP/1.1\r\n{left}").as_str()));
}

#[test]
fn headers_pass_as_they_are_written() {
    for headers in [
        "",
        "Host: h\r\n",
        "hOST:h\r\nX-Dup:  1 \r\nOther:\r\nx-dup:\t2\r\n",
        "X-Latin: caf\u{e9}\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
    ] {
        passes(headers, false, headers);
    }
}

#[test]
fn hop_by_hop_headers_stay_behind() {
    passes("Connection: keep-alive, x-mine\r\nX-Mine: 1\r\nX-Other: 2\r\n", false, "X-Other: 2\r\n");
    passes("Connection: close\r\nKeep-Alive: timeout=5\r\nHost: h\r\n", false, "Host: h\r\n");
    passes("TE: trailers\r\nTrailer: x\r\n", false, "TE: trailers\r\nTrailer: x\r\n");
    passes("te: deflate, trailers\r\nTE: trailers\r\n", false, "te: trailers\r\n");
    passes("TE: deflate\r\nTransfer-Encoding: chunked\r\n", false, "Transfer-Encoding: chunked\r\n");
    passes(
        "Connection: host, content-length\r\nHost: h\r\nContent-Length: 3\r\n",
        false,
        "Host: h\r\nContent-Length: 3\r\n",
    );
    passes("A: 1\r\nConnection: close\r\nB: 2\r\nTE: x\r\nA: 3\r\n", false, "A: 1\r\nB: 2\r\nA: 3\r\n");
    passes("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n", true, "");
    passes("Upgrade: h2c\r\nProxy-Connection: x\r\nAccept: a\r\n", false, "Accept: a\r\n");
    passes(
        "Connection: keep-alive, Upgrade\r\nX: 1\r\nUpgrade: websocket\r\n",
        true,
        "Connection: Upgrade\r\nX: 1\r\nUpgrade: websocket\r\n",
    );
    passes("Connection: upgrade\r\nUpgrade: echo\r\n", true, "Connection: upgrade\r\nUpgrade: echo\r\n");
}

#[test]
fn bodies_of_requests_are_delimited_in_one_way_only() {
    for (headers, framing) in [
        ("", Some("0")),
        ("Content-Length: 17\r\n", Some("17")),
        ("Content-Length: 18446744073709551615\r\n", Some("18446744073709551615")),
        ("Transfer-Encoding: chunked\r\n", Some("chunked")),
        ("Transfer-Encoding: gzip, Chunked\r\n", Some("chunked")),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Some("chunked")),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", None),
        ("Content-Length: 4, 4\r\n", None),
        ("Content-Length: 18446744073709551616\r\n", None),
        ("Content-Length: x\r\n", None),
        ("Content-Length: -1\r\n", None),
        ("Content-Length: +1\r\n", None),
        ("Content-Length:\r\n", None),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", None),
        ("Transfer-Encoding: chunked, chunked\r\n", None),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", None),
        ("Transfer-Encoding: chunked, gzip\r\n", None),
        ("Transfer-Encoding: xchunked\r\n", None),
        ("Transfer-Encoding:\r\n", None),
        ("X: a\r\n folded\r\n", None),
        ("X: a\n", None),
        ("X : a\r\n", None),
        (" X: a\r\n", None),
        ("X: a\0b\r\n", None),
        ("X: a\rb\r\n", None),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let read = request(head.as_bytes(), false);
        match framing {
            Some(framing) => assert_eq!(read.unwrap().unwrap().0, framing, "{headers:?}"),
            None => assert_eq!(read, Err(Refusal::Malformed), "{headers:?}"),
        }
    }
    for head in [
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "and more\r\n\r\n",
    ] {
        assert_eq!(request(head.as_bytes(), false), Err(Refusal::Malformed), "{head:?}");
    }
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(9));
    assert_eq!(request(many.as_bytes(), false), Err(Refusal::TooLarge));
}

#[test]
fn empty_lines_before_a_request_are_left_out() {
    let (_, length, out) = request(b"\r\n\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nrest", false).unwrap().unwrap();
    assert_eq!((length, out.as_str()), (28, "GET / HTTP/1.1\r\nA: b\r\n"));
}

#[test]
fn bodies_of_answers_are_delimited_as_the_standard_says() {
    for (start, headers, is_head, framing, left) in [
        ("200 OK", "Content-Length: 4\r\n", false, "4", "Content-Length: 4\r\n"),
        ("200 OK", "Content-Length: 4\r\n", true, "0", "Content-Length: 4\r\n"),
        ("200 OK", "", false, "until close", ""),
        ("204 No Content", "", false, "0", ""),
        ("304 Not Modified", "Content-Length: 4\r\n", false, "0", "Content-Length: 4\r\n"),
        ("200", "transfer-encoding: chunked\r\n", false, "chunked", "transfer-encoding: chunked\r\n"),
        ("200 OK", "Transfer-Encoding: gzip\r\n", false, "until close", "Transfer-Encoding: gzip\r\n"),
        (
            "200 OK",
            "A: b\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n",
            false,
            "chunked",
            "A: b\r\nTransfer-Encoding: chunked\r\n",
        ),
        ("200 OK", "Connection: close\r\nServer: S/1\r\n", false, "until close", "Server: S/1\r\n"),
        ("299 Odd", "bare: lf\nContent-Length: 1\r\n", false, "1", "bare: lf\nContent-Length: 1\r\n"),
    ] {
        let head = format!("HTTP/1.1 {start}\r\n{headers}\r\n");
        let (_, found, out) = response(head.as_bytes(), is_head).unwrap().unwrap();
        assert_eq!((found.as_str(), out), (framing, format!("HTTP/1.1 {start}\r\n{left}")), "{head:?}");
    }
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "no HTTP at all\r\n\r\n",
    ] {
        assert_eq!(response(head.as_bytes(), false), Err(Refusal::Malformed), "{head:?}");
    }
}

#[test]
fn a_target_has_a_path_and_may_have_a_host() {
    for (target, path, host) in [
        ("/a/b?c=/d#e", "/a/b", None),
        ("//a//b", "//a//b", None),
        ("/?", "/", None),
        ("*", "*", None),
        ("/a#b?c", "/a", None),
        ("/to?url=http://other/x", "/to", None),
        ("http://model.local//absolute/%2F?x=%20", "//absolute/%2F", Some("model.local")),
        ("http://user@model.local:80", "/", Some("model.local:80")),
        ("HTTP://model.local?q", "/", Some("model.local")),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\n\r\n");
        let mut slots = [const { MaybeUninit::uninit() }; 8];
        let head = read_request(head.as_bytes(), &mut slots).unwrap().unwrap();
        assert_eq!(head.path_and_host(), (path, host), "{target}");
    }
}

proptest! {
    #[test]
    fn a_head_is_whole_at_its_last_byte_and_not_before(
        headers in prop::collection::vec(("[a-zA-Z-]{1,12}", "[ -~]{0,20}"), 0..7), rest in "[ -~]{0,9}",
    ) {
        let mut head = "POST /v1 HTTP/1.1\r\n".to_owned();
        for (name, value) in &headers {
            write!(head, "X-{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        for cut in 0..head.len() {
            prop_assert_eq!(request(&head.as_bytes()[..cut], false), Ok(None));
        }
        let all = format!("{head}{rest}");
        let (framing, length, out) = request(all.as_bytes(), false).unwrap().unwrap();
        prop_assert_eq!((framing.as_str(), length), ("0", head.len()));
        prop_assert_eq!(out, &head[..head.len() - 2]);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n", "\r\n", "\n", "a: b", "Connection: ", "close, a",
                "upgrade", "Transfer-Encoding: ", "chunked", "Content-Length: ", "12", ",", "TE: trailers\r\n",
                "\u{e9}", ":", " ", "\0",
            ]),
            0..14,
        ),
        keep_upgrade in any::<bool>(),
    ) {
        let bytes = parts.concat();
        if let Ok(Some((_, length, out))) = request(bytes.as_bytes(), keep_upgrade) {
            // What is passed on is again a whole head, and says the same of its body.
            let passed = format!("{out}\r\n");
            let again = request(passed.as_bytes(), keep_upgrade).unwrap().unwrap();
            prop_assert!(length <= bytes.len());
            prop_assert_eq!((again.0, again.1), (request(bytes.as_bytes(), false).unwrap().unwrap().0, passed.len()));
        }
        let _either = response(bytes.as_bytes(), false);
    }

    #[test]
    fn any_bytes_at_all_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _either = (request(&bytes, true), response(&bytes, false));
    }
}
