//! Tests of the settings of sources.

use super::*;
use crate::config::{Settings, SettingsError};

fn parse(sources: &str) -> Result<Settings, SettingsError> {
    Settings::parse(&format!("models: [{{name: m}}]\nsources:\n{sources}"), "driftline.yaml")
}

fn refusal(sources: &str) -> String {
    parse(sources).unwrap_err().to_string()
}

#[test]
fn every_kind_is_read_with_its_defaults() {
    let settings = parse(
        "  - {name: a, model: m, nats: {url: 'nats://h:4222', stream: S, consumer: c, subjects: ['p.>']}}
  - {name: b, rabbitmq: {url_file: secret/url, queue: q, prefetch: 10}}
  - {name: c, kafka: {brokers: ['h:9092'], topics: [t, '^seldon\\..*'], group: g, options: {security.protocol: ssl}}}
  - {name: d, files: {paths: ['logs/*.jsonl', /capture/**/*.jsonl], format: sagemaker_capture, shared: true}}
",
    )
    .unwrap();
    let [nats, rabbitmq, kafka, files] = &settings.sources[..] else { panic!("four sources") };
    let nats = nats.nats.as_ref().unwrap();
    assert_eq!((nats.in_flight, nats.ack_wait.to_string(), nats.start), (256, "30s".into(), StartAt::Oldest));
    assert_eq!(rabbitmq.rabbitmq.as_ref().unwrap().prefetch, 10);
    assert_eq!(kafka.kafka.as_ref().unwrap().topics.len(), 2);
    let files = files.files.as_ref().unwrap();
    assert!(files.follow && files.shared);
    assert_eq!(files.format, FileFormat::SagemakerCapture);
}

#[test]
fn relative_paths_are_those_of_the_settings_file() {
    let mut settings = parse(
        "  - {name: b, rabbitmq: {url_file: secret/url, queue: q}}
  - {name: d, files: {paths: ['logs/*.jsonl', /capture/*.jsonl]}}
",
    )
    .unwrap();
    settings.resolve_paths(Path::new("/etc/driftline"));
    let url_file = settings.sources[0].rabbitmq.as_ref().unwrap().url_file.clone();
    assert_eq!(url_file, Some(PathBuf::from("/etc/driftline/secret/url")));
    let paths = &settings.sources[1].files.as_ref().unwrap().paths;
    assert_eq!(paths[..], ["/etc/driftline/logs/*.jsonl", "/capture/*.jsonl"]);
}

#[test]
fn unknown_keys_and_names_are_refused_with_their_place() {
    for (sources, expected) in [
        ("  - {name: a, nat: {}}\n", "nat"),
        ("  - {name: a, files: {paths: [x], fromat: csv}}\n", "fromat"),
        ("  - {name: a, files: {paths: [x], format: avro}}\n", "avro"),
        ("  - {name: a/b, files: {paths: [x]}}\n", "`a/b` is no name of a source"),
        ("  - {name: a, model: 'x y', files: {paths: [x]}}\n", "not a model name"),
    ] {
        let message = refusal(sources);
        assert!(message.contains(expected) && message.contains("driftline.yaml"), "{message}");
    }
}

#[test]
fn contradictions_are_reported_together() {
    let message = refusal(
        "  - {name: none}
  - {name: none, model: other, files: {paths: []}}
  - {name: both, files: {paths: [x]}, kafka: {brokers: [h], topics: [t], group: g}}
  - {name: nats, nats: {url: 'http://h', stream: 'a b', consumer: a.b, subjects: [''], in_flight: 0, ack_wait: 1ms,
      user: u, token_file: t}}
  - {name: rabbit, rabbitmq: {url: 'http://u:s3cret@h', queue: ' '}}
  - {name: rabbit2, rabbitmq: {queue: q}}
  - {name: rabbit3, rabbitmq: {queue: q, url: 'amqp://h', url_file: f, prefetch: 20000}}
  - {name: kafka, kafka: {brokers: [], topics: [''], group: '', password_file: p, options: {group.id: x}}}
  - {name: files, files: {paths: ['s3://bucket/x'], poll: 0s, format: csv, utc_offset: CET, line_limit: '0'}}
  - {name: odd, format: avro, nats: {url: 'nats://h', stream: s, consumer: c}}
  - {name: files2, format: labels, files: {paths: [x], format: jsonl, columns: {id: i}}}
",
    );
    for expected in [
        "source `none` is listed twice",
        "`none`: it is of no kind; add one of",
        "`none`: model `other` is not listed",
        "`files.paths` is empty",
        "`both`: it is of several kinds",
        "`nats.stream` must have no blank",
        "`nats.consumer` must have no blank",
        "`nats.url` is `http://h`",
        "`nats.subjects` has one",
        "`nats.in_flight` is 0",
        "`nats.ack_wait` is 1ms",
        "`user` is set and `password_file` is not",
        "keep one of `credentials_file`",
        "`rabbitmq.queue` is empty",
        "`rabbitmq.url` is `http://***@h`",
        "needs `url` or `url_file`",
        "keep one of `url` and `url_file`",
        "`rabbitmq.prefetch` is 20000",
        "`kafka.brokers` is empty",
        "`kafka.topics` is empty",
        "`kafka.group` is empty",
        "`password_file` is set and `user` is not",
        "`group.id` follows from",
        "is a URL; only files",
        "`files.poll` is 0",
        "set `model`",
        "`files.utc_offset` is `CET`",
        "`files.line_limit` and",
        "`files.columns` is for tables",
        "`avro` is not a format",
        "`format` is for brokers",
    ] {
        assert!(message.contains(expected), "{expected} is not in\n{message}");
    }
    assert!(!message.contains("s3cret"), "{message}");
}

#[test]
fn passwords_are_shown_nowhere() {
    for (url, shown) in [
        ("amqp://guest:p4ss@h:5672/%2f", "amqp://***@h:5672/%2f"),
        ("amqp://u:p4ss@x@h/v?auth=p4ss", "amqp://***@h/v"),
        ("nats://a:p4ss@h1:4222,nats://p4ss@h2", "nats://***@h1:4222,nats://***@h2"),
        ("nats://h:4222", "nats://h:4222"),
        ("u:p4ss@h", "***@h"),
    ] {
        let url = BrokerUrl::new(url);
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), shown);
    }
    let settings = parse(
        "  - {name: k, kafka: {brokers: [h], topics: [t], group: g, options: {ssl.key.password: p4ss}}}
  - {name: r, rabbitmq: {url: 'amqp://u:p4ss@h', queue: q}}
",
    )
    .unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains("p4ss"), "{shown}");
    assert!(shown.contains("ssl.key.password"), "{shown}");
}
