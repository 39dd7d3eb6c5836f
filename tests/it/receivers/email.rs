//! E-mail: threads, pictures, several relays, and relays that refuse, hang, hang up or are not who they say.

use std::process::Command;

use driftline::alert::Occasion;
use driftline::tasks::notifier::{Delivery, deliver_next};

use super::{last_error, later, message, queue, receivers, start};
use crate::smtp::{SmtpServer, certificate_for};
use crate::support;

const TO: &str = "receivers: {oncall: {email: {to: [oncall@example.com]}}}";

fn relay(port: u16) -> String {
    format!("{{host: 127.0.0.1, port: {port}, tls: none, from: driftline@example.com}}")
}

/// A header of a mail, unfolded.
fn header(mail: &str, name: &str) -> Option<String> {
    let head = mail.split("\r\n\r\n").next()?.replace("\r\n ", " ");
    head.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
}

/// A port that nothing listens on.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_messages_of_a_group_are_one_thread() {
    let mut server = SmtpServer::start(&[]);
    let receivers = receivers(&format!("smtp: {}\n{TO}", relay(server.port)));
    let pool = support::database().await;
    let occasions = [Occasion::Began, Occasion::Changed, Occasion::Repeated, Occasion::Resolved];
    let messages: Vec<_> =
        (1..).zip(occasions).map(|(number, occasion)| message("oncall", "a", number, occasion)).collect();
    queue(&pool, &messages).await;
    queue(&pool, &[message("oncall", "b", 9, Occasion::Escalated)]).await;
    let mut mails = Vec::new();
    for _ in 0..5 {
        assert_eq!(deliver_next(&pool, &receivers, "oncall", later).await.unwrap(), Some(Delivery::Sent));
        mails.push(server.next().data);
    }
    let root = format!("<{}@example.com>", messages[0].id);
    assert_eq!(header(&mails[0], "Message-ID"), Some(root.clone()));
    assert_eq!(header(&mails[0], "In-Reply-To"), None);
    let subject = header(&mails[0], "Subject").unwrap();
    for (mail, message) in mails[1..4].iter().zip(&messages[1..]) {
        assert_eq!(header(mail, "Message-ID"), Some(format!("<{}@example.com>", message.id)));
        assert_eq!(header(mail, "In-Reply-To"), Some(root.clone()));
        assert_eq!(header(mail, "References"), Some(root.clone()));
        assert_eq!(header(mail, "Subject"), Some(format!("Re: {subject}")));
    }
    assert_eq!(header(&mails[4], "References"), None, "another group is another thread");
}

#[tokio::test]
async fn a_mail_has_its_pictures_inside() {
    let mut server = SmtpServer::start(&[]);
    let receivers = receivers(&format!("smtp: {}\n{TO}", relay(server.port)));
    receivers.send(&message("oncall", "a", 1, Occasion::Began), None, later()).await.unwrap();
    let mail = server.next().data;
    // Python's own parser of mail: which parts there are, and that the HTML names the pictures.
    let script = "
import email, email.policy, re, sys
mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = [part for part in mail.walk()]
print(' '.join(part.get_content_type() for part in parts))
html = next(part for part in parts if part.get_content_type() == 'text/html').get_content()
shown = re.findall(r'src=\"cid:([^\"]+)\"', html)
pictures = {part['Content-ID'].strip('<>'): part for part in parts if part.get_content_type() == 'image/png'}
assert shown == list(pictures), (shown, list(pictures))
assert all(part.get_content().startswith(b'\\x89PNG') for part in pictures.values())
assert all(part.get_content_disposition() == 'inline' for part in pictures.values())
assert 'http://' not in html and 'https://' not in html
";
    let mut child = Command::new(std::env::var("DRIFTLINE_TEST_PYTHON").unwrap())
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), mail.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success());
    assert_eq!(
        String::from_utf8(ended.stdout).unwrap().trim(),
        "multipart/alternative text/plain multipart/related text/html image/png image/png"
    );
}

#[tokio::test]
async fn a_relay_that_does_not_take_a_mail_is_passed_over() {
    for arguments in
        [vec![], vec!["--answer", "451 try later"], vec!["--answer", "550 not by me"], vec!["--hang-up"]]
    {
        let first = (!arguments.is_empty()).then(|| SmtpServer::start(&arguments));
        let port = first.as_ref().map_or_else(closed_port, |server| server.port);
        let mut second = SmtpServer::start(&[]);
        let receivers = receivers(&format!("smtp: [{}, {}]\n{TO}", relay(port), relay(second.port)));
        let sent = message("oncall", "a", 1, Occasion::Began);
        receivers
            .send(&sent, None, later())
            .await
            .unwrap_or_else(|failure| panic!("{arguments:?}: {failure}"));
        assert!(second.next().data.contains(&sent.id.to_string()), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_relay_that_hangs_holds_a_mail_up_once() {
    let silent = SmtpServer::start(&["--hang"]);
    let mut second = SmtpServer::start(&[]);
    let receivers = receivers(&format!("smtp: [{}, {}]\n{TO}", relay(silent.port), relay(second.port)));
    receivers.send(&message("oncall", "a", 1, Occasion::Began), None, later()).await.unwrap();
    second.next();
    // It is asked last now: with the second gone as well, the failure tells of the second first.
    drop(second);
    let failure =
        receivers.send(&message("oncall", "a", 2, Occasion::Began), None, later()).await.unwrap_err();
    let (first, last) = failure.reason.split_once("; ").unwrap();
    assert!(!first.contains(&silent.port.to_string()), "{failure}");
    assert!(last.contains(&silent.port.to_string()), "{failure}");
}

#[tokio::test]
async fn relays_give_a_mail_up_only_together() {
    for (answers, dead) in [(["550 no", "554 no"], true), (["550 no", "451 later"], false)] {
        let servers = answers.map(|answer| SmtpServer::start(&["--answer", answer]));
        let relays = servers.each_ref().map(|server| relay(server.port)).join(", ");
        let receivers = receivers(&format!("smtp: [{relays}]\n{TO}"));
        let pool = support::database().await;
        queue(&pool, &[message("oncall", "a", 1, Occasion::Began)]).await;
        let delivery = deliver_next(&pool, &receivers, "oncall", start).await.unwrap();
        assert_eq!(delivery == Some(Delivery::Dead), dead, "{answers:?}: {delivery:?}");
        let error = last_error(&pool).await;
        assert!(answers.iter().all(|answer| error.contains(&answer[4..])), "{error}");
    }
}

#[tokio::test]
async fn a_relay_that_hangs_up_in_mid_data_is_tried_again() {
    let server = SmtpServer::start(&["--hang-up"]);
    let receivers = receivers(&format!("smtp: {}\n{TO}", relay(server.port)));
    let pool = support::database().await;
    queue(&pool, &[message("oncall", "a", 1, Occasion::Began)]).await;
    let delivery = deliver_next(&pool, &receivers, "oncall", start).await.unwrap();
    assert!(matches!(delivery, Some(Delivery::Retry(_))), "{delivery:?}: {}", last_error(&pool).await);
}

#[tokio::test]
async fn a_certificate_of_another_host_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate_for(folder.path(), "mail.example.com");
    for (arguments, tls) in [(vec!["--implicit"], "implicit"), (vec![], "starttls")] {
        let server = SmtpServer::start(&[&["--tls", cert.as_str(), key.as_str()][..], &arguments].concat());
        let receivers = receivers(&format!(
            "smtp: {{host: localhost, port: {}, tls: {tls}, from: d@example.com, ca_file: {cert}}}\n{TO}",
            server.port
        ));
        let failure =
            receivers.send(&message("oncall", "a", 1, Occasion::Began), None, later()).await.unwrap_err();
        assert!(failure.reason.to_lowercase().contains("certificate"), "{failure}");
        assert!(!failure.permanent);
    }
}

#[tokio::test]
async fn a_recipient_that_is_refused_does_not_keep_the_mail_from_the_others() {
    let mut server = SmtpServer::start(&["--refuse", "gone@example.com"]);
    let settings =
        |to: &str| format!("smtp: {}\nreceivers: {{oncall: {{email: {{to: [{to}]}}}}}}", relay(server.port));
    let (some, none) = (
        receivers(&settings("gone@example.com, oncall@example.com")),
        receivers(&settings("gone@example.com")),
    );
    some.send(&message("oncall", "a", 1, Occasion::Began), None, later()).await.unwrap();
    let received = server.next();
    assert_eq!(received.to, ["oncall@example.com"]);
    assert_eq!(header(&received.data, "To").unwrap(), "gone@example.com, oncall@example.com");
    let failure = none.send(&message("oncall", "a", 2, Occasion::Began), None, later()).await.unwrap_err();
    assert!(failure.permanent, "{failure}");
}
