//! Tests of traffic counts, their stored form, and the verdict on a window.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;
use crate::baseline::Season;
use crate::stats::random::SplitMix64;
use crate::window::Window;

fn exchange() -> Exchange {
    Exchange {
        upstream_seconds: 0.1,
        answer_seconds: 0.12,
        overhead_seconds: 5e-5,
        status: 200,
        grpc_status: None,
        request_bytes: 1000,
        response_bytes: 200,
        in_flight: 1,
    }
}

fn counts(exchanges: &[Exchange]) -> TrafficCounts {
    let mut counts = TrafficCounts::default();
    for exchange in exchanges {
        counts.record(exchange);
    }
    counts
}

fn any_exchange() -> impl Strategy<Value = Exchange> {
    let times = (0.0..100.0_f64, 0.0..100.0_f64, 0.0..1.0_f64);
    let statuses = (any::<u16>(), prop::option::of(0..40_u16));
    (times, statuses, (any::<u64>(), any::<u64>()), any::<u32>()).prop_map(
        |(times, statuses, bytes, in_flight)| Exchange {
            upstream_seconds: times.0,
            answer_seconds: times.1,
            overhead_seconds: times.2,
            status: statuses.0,
            grpc_status: statuses.1,
            request_bytes: bytes.0,
            response_bytes: bytes.1,
            in_flight,
        },
    )
}

#[test]
fn endings_follow_both_statuses() {
    use Ending::{Answered, ClientError, ServerError, Unanswered};
    for (status, grpc, ending) in [
        (200, None, Answered),
        (204, None, Answered),
        (304, None, Answered),
        (101, None, Answered),
        (404, None, ClientError),
        (429, None, ClientError),
        (499, None, Unanswered),
        (0, None, Unanswered),
        (500, None, ServerError),
        (502, Some(14), ServerError),
        (999, None, ServerError),
        (u16::MAX, None, ServerError),
        (200, Some(0), Answered),
        (200, Some(1), Unanswered),
        (200, Some(3), ClientError),
        (200, Some(16), ClientError),
        (200, Some(4), ServerError),
        (200, Some(13), ServerError),
        (200, Some(14), ServerError),
        (200, Some(99), ServerError),
    ] {
        assert_eq!(Ending::of(status, grpc), ending, "{status} {grpc:?}");
    }
}

#[test]
fn figures_are_those_of_the_exchanges() {
    let mut exchanges = vec![exchange(); 96];
    exchanges.extend([Exchange { upstream_seconds: 2.0, status: 503, in_flight: 7, ..exchange() }; 2]);
    exchanges.push(Exchange { status: 422, request_bytes: 11_000, ..exchange() });
    exchanges.push(Exchange { status: 0, ..exchange() });
    let counts = counts(&exchanges);
    for (figure, expected) in [
        (Figure::Requests, 100.0),
        (Figure::ErrorShare, 0.02),
        (Figure::ClientErrorShare, 0.01),
        (Figure::UnansweredShare, 0.01),
        (Figure::RequestBytesMean, 1100.0),
        (Figure::ResponseBytesMean, 200.0),
        (Figure::InFlightMax, 7.0),
        (Figure::InFlightMean, 1.12),
    ] {
        let found = figure.of(&counts).unwrap();
        assert!((found - expected).abs() < 1e-9, "{figure:?}: {found}");
    }
    for (figure, expected) in [
        (Figure::UpstreamP50, 0.1),
        (Figure::UpstreamP99, 2.0),
        (Figure::AnswerP90, 0.12),
        (Figure::OverheadP99, 5e-5),
        (Figure::RequestBytesP99, 1000.0),
    ] {
        let found = figure.of(&counts).unwrap();
        assert!((found / expected - 1.0).abs() <= RELATIVE_ERROR, "{figure:?}: {found}");
    }
    let nothing = TrafficCounts::default();
    let absent: Vec<Figure> =
        Figure::ALL.into_iter().filter(|figure| figure.of(&nothing).is_none()).collect();
    assert_eq!(absent, Figure::ALL[1..]);
}

#[test]
fn every_figure_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = Figure::ALL.iter().map(|figure| figure.as_str()).collect();
    assert_eq!(names.len(), Figure::ALL.len());
    for figure in Figure::ALL {
        assert_eq!(serde_json::to_value(figure).unwrap(), figure.as_str());
    }
    for (figure, value, text) in [
        (Figure::UpstreamP99, 0.84, "840 ms"),
        (Figure::UpstreamP99, 12.34, "12.3 s"),
        (Figure::OverheadP50, 4.2e-5, "42 µs"),
        (Figure::ErrorShare, 0.031, "3.1 %"),
        (Figure::ResponseBytesMean, 2048.0, "2.05 kB"),
        (Figure::Requests, 1234.0, "1234"),
    ] {
        assert_eq!(figure.text(value), text);
    }
}

/// The stored form of two exchanges: what was written once has to be read for ever.
const STORED: &str =
    "444c5431018a0202018f0202015b0201e0030201ba03020100010002c80101f70301010e01d00f900302010c8df929";

#[test]
fn what_was_stored_is_read_for_ever() {
    let counts = counts(&[exchange(), Exchange { status: 503, grpc_status: Some(14), ..exchange() }]);
    let bytes = encode(&counts);
    let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text.concat(), STORED);
    assert_eq!(decode(&bytes).unwrap(), counts);
}

#[test]
fn damage_is_told() {
    let bytes = encode(&counts(&[exchange(); 3]));
    assert_eq!(decode(b""), Err(DecodeError::UnknownFormat));
    assert_eq!(decode(&bytes[..3]), Err(DecodeError::UnknownFormat));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let expected = if at < 4 { DecodeError::UnknownFormat } else { DecodeError::Checksum };
        assert_eq!(decode(&damaged), Err(expected), "byte {at}");
    }
    assert!(merge_stored([bytes.as_slice(), b"DLT2....".as_slice()]).is_err());
}

/// `body` with the checksum that fits it.
fn sealed(body: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let body = [b"DLT1", body].concat();
    let digest = Sha256::digest(&body);
    [body.as_slice(), &digest[..4]].concat()
}

#[test]
fn counts_that_contradict_themselves_are_refused() {
    let whole = encode(&counts(&[exchange()]));
    let body = &whole[4..whole.len() - 4];
    assert!(decode(&sealed(body)).is_ok());
    let mut twice = body.to_vec();
    twice[3] = 2; // the histogram says 2, everything else 1
    for body in [twice.as_slice(), &body[..body.len() - 1], &[body, &[0]].concat(), &[0xff; 12], &[]] {
        assert_eq!(decode(&sealed(body)), Err(DecodeError::Content), "{body:?}");
    }
}

proptest! {
    #[test]
    fn merging_is_exact_in_any_order(
        exchanges in prop::collection::vec(any_exchange(), 0..60),
        cut in 0..60_usize,
        other_cut in 0..60_usize,
    ) {
        let whole = counts(&exchanges);
        let (low, high) = (cut.min(other_cut).min(exchanges.len()), cut.max(other_cut).min(exchanges.len()));
        let parts = [&exchanges[..low], &exchanges[low..high], &exchanges[high..]].map(counts);
        let merged = |order: [usize; 3]| {
            let mut sum = TrafficCounts::default();
            for part in order {
                sum.merge(&parts[part]);
            }
            sum
        };
        let mut right = parts[1].clone();
        right.merge(&parts[2]);
        let mut nested = parts[0].clone();
        nested.merge(&right);
        for sum in [merged([0, 1, 2]), merged([2, 1, 0]), merged([1, 2, 0]), nested] {
            prop_assert_eq!(&sum, &whole);
            prop_assert_eq!(encode(&sum), encode(&whole));
        }
        prop_assert_eq!(whole.requests(), exchanges.len() as u64);
        let stored: Vec<Vec<u8>> = parts.iter().map(encode).collect();
        prop_assert_eq!(merge_stored(stored.iter().map(Vec::as_slice)).unwrap(), whole);
    }

    #[test]
    fn the_stored_form_is_read_back(exchanges in prop::collection::vec(any_exchange(), 0..60)) {
        let counts = counts(&exchanges);
        prop_assert_eq!(decode(&encode(&counts)).unwrap(), counts);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(counts) = decode(&sealed(&body)) {
            prop_assert_eq!(encode(&counts), sealed(&body));
        }
    }
}

fn hour(number: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::hours(490_000 + number)
}

/// Windows whose latencies lie around `0.1 s · e^N(0, deviation)`, with one exchange in `1 / errors` failing.
struct Hours {
    random: SplitMix64,
    requests: usize,
    deviation: f64,
    errors: f64,
}

impl Hours {
    fn window(&mut self, slower: f64, errors: f64) -> TrafficCounts {
        let level = 0.1 * slower * (self.deviation * self.random.normal()).exp();
        let mut counts = TrafficCounts::default();
        for _ in 0..self.requests {
            let upstream = level * (0.5 * self.random.normal()).exp();
            let status = if self.random.uniform() < errors { 500 } else { 200 };
            counts.record(&Exchange {
                upstream_seconds: upstream,
                answer_seconds: 1.1 * upstream,
                status,
                ..exchange()
            });
        }
        counts
    }

    fn earlier(&mut self, windows: i64) -> Vec<Earlier> {
        (0..windows).map(|at| Earlier { start: hour(at), counts: self.window(1.0, self.errors) }).collect()
    }
}

fn hours(seed: u64) -> Hours {
    Hours { random: SplitMix64::new(seed), requests: 300, deviation: 0.1, errors: 0.002 }
}

fn alpha(alpha: f64) -> TrafficCriteria {
    TrafficCriteria { alpha, ..TrafficCriteria::default() }
}

#[test]
fn a_slow_window_and_a_failing_one_are_worse_and_a_calm_one_is_not() {
    let mut hours = hours(1);
    let earlier = hours.earlier(48);
    let criteria = alpha(1.0 / 720.0);
    let mut judged =
        |slower, errors| judge(&hours.window(slower, errors), &earlier, 0, Season::None, &criteria);
    let calm = judged(1.0, 0.002);
    assert_eq!(calm.verdict, TrafficVerdict::Ok, "{}", calm.reason);
    assert_eq!((calm.reference.windows, calm.reference.requests), (48, 48 * 300));
    assert_eq!((calm.reference.first, calm.reference.last), (Some(hour(0)), Some(hour(47))));
    let ratio = calm.figures[&Figure::UpstreamP99].ratio.unwrap();
    assert!((0.6..1.6).contains(&ratio), "{ratio}");

    let slow = judged(4.0, 0.002);
    assert_eq!(slow.verdict, TrafficVerdict::Worse);
    let worse: Vec<Figure> = slow.worse().map(|(figure, _)| figure).collect();
    assert!(worse.contains(&Figure::UpstreamP99) && worse.contains(&Figure::AnswerP99), "{worse:?}");
    assert!(!worse.contains(&Figure::ErrorShare) && !worse.contains(&Figure::OverheadP99), "{worse:?}");
    assert!(
        slow.reason.contains("upstream_p99 is ") && slow.reason.contains(" times, p "),
        "{}",
        slow.reason
    );

    let failing = judged(1.0, 1.0);
    assert_eq!(failing.verdict, TrafficVerdict::Worse);
    let worse: Vec<Figure> = failing.worse().map(|(figure, _)| figure).collect();
    assert_eq!(worse, [Figure::ErrorShare]);
    assert_eq!(failing.statuses, [(500, 300)].into());
}

#[test]
fn faster_is_not_worse_and_small_is_no_matter() {
    let mut hours = Hours { deviation: 0.0, ..hours(2) };
    let earlier = hours.earlier(48);
    let judged = |counts: &TrafficCounts| judge(counts, &earlier, 0, Season::None, &alpha(0.05));
    assert_eq!(judged(&hours.window(0.2, 0.0)).verdict, TrafficVerdict::Ok);
    let report = judged(&hours.window(1.15, 0.002));
    assert_eq!(report.verdict, TrafficVerdict::Ok, "{}", report.reason);
    // 40 µs more of driftline's own is a doubling, and under the floor of a millisecond.
    let mut slower = TrafficCounts::default();
    for _ in 0..300 {
        slower.record(&Exchange { overhead_seconds: 9e-5, ..exchange() });
    }
    assert!(judged(&slower).worse().all(|(figure, _)| figure != Figure::OverheadP99));
    let mut own = TrafficCounts::default();
    for _ in 0..300 {
        own.record(&Exchange { overhead_seconds: 0.05, ..exchange() });
    }
    assert!(judged(&own).worse().any(|(figure, _)| figure == Figure::OverheadP99));
}

#[test]
fn too_little_is_said_to_be_so() {
    let mut hours = hours(3);
    let criteria = alpha(0.05);
    let few = judge(&hours.window(50.0, 1.0), &hours.earlier(7), 3, Season::None, &criteria);
    assert_eq!(few.verdict, TrafficVerdict::Unknown);
    assert_eq!(
        few.reason,
        "7 earlier windows are under the minimum of 8 (3 were left out, being worse themselves)"
    );
    let errors = &few.figures[&Figure::ErrorShare];
    assert_eq!((errors.value, errors.baseline, errors.ratio, errors.p), (1.0, None, None, None));

    let earlier = hours.earlier(8);
    let some = judge(&counts(&[exchange(); 49]), &earlier, 0, Season::None, &criteria);
    assert_eq!(some.verdict, TrafficVerdict::InsufficientData);
    let upstream = &some.figures[&Figure::UpstreamP99];
    assert!(upstream.baseline.is_some() && upstream.ratio.is_none() && upstream.p.is_none());

    let text = serde_json::to_string(&some).unwrap();
    assert_eq!(serde_json::from_str::<TrafficReport>(&text).unwrap(), some);
}

#[test]
fn a_span_that_is_no_window_is_shown_beside_what_is_usual() {
    let of_window = counts(&vec![exchange(); 600]);
    let earlier: Vec<Earlier> =
        (0..8).map(|number| Earlier { start: hour(number), counts: of_window.clone() }).collect();
    let usual = Usual::of(&earlier, Duration::from_hours(1));
    let slow = Exchange { upstream_seconds: 0.4, in_flight: 3, ..exchange() };
    let found = usual.beside(&counts(&vec![slow; 60]), Duration::from_mins(6));
    let near = |figure: Figure, value: f64, baseline: f64, ratio: f64| {
        let compared = &found[&figure];
        let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.04;
        assert!(close(compared.value, value), "{figure:?} {compared:?}");
        assert!(close(compared.baseline.unwrap(), baseline), "{figure:?} {compared:?}");
        assert!(close(compared.ratio.unwrap(), ratio), "{figure:?} {compared:?}");
        assert_eq!(compared.p, None);
    };
    near(Figure::Requests, 60.0, 60.0, 1.0);
    near(Figure::UpstreamP95, 0.4, 0.1, 4.0);
    near(Figure::InFlightMax, 3.0, 1.0, 3.0);
    let few = usual.beside(&counts(&vec![slow; 10]), Duration::from_mins(6));
    assert_eq!(few[&Figure::UpstreamP95].ratio, None, "ten exchanges are too few to compare");
    assert!(few[&Figure::UpstreamP95].baseline.is_some());
    let none = Usual::of(&earlier[1..], Duration::from_hours(1)).beside(&of_window, Duration::from_mins(6));
    assert!(none.values().all(|compared| compared.baseline.is_none()), "seven windows are too few");
    let silent = usual.beside(&TrafficCounts::default(), Duration::from_mins(6));
    assert_eq!(silent.into_keys().collect::<Vec<_>>(), [Figure::Requests]);
}

#[test]
fn the_reach_is_a_week_or_168_windows() {
    let window = |minutes: i64| {
        let start = hour(0);
        Window { start, end: start + TimeDelta::minutes(minutes) }
    };
    for (minutes, windows) in [(60, 168), (30, 336), (5, 2016), (1, MAX_WINDOWS), (24 * 60, 168)] {
        let reach = Reach::of(window(minutes), Season::None);
        assert_eq!((reach.windows, reach.slot), (windows, None), "{minutes} min");
    }
    let day = Reach::of(window(60), Season::HourOfDay);
    assert_eq!((day.windows, day.slot, day.season), (28, Some((490_000 % 24, 24)), Season::HourOfDay));
    let longer = Reach::of(window(24 * 60), Season::HourOfDay);
    assert_eq!((longer.slot, longer.season), (None, Season::None));
}

/// A small version of `benches/traffic.rs`: the share of windows found worse, with nothing wrong.
#[test]
fn false_alarms_stay_within_alpha() {
    let (references, windows, level) = (12, 40, 0.05);
    let bare = TrafficCriteria { share_floor: 0.0, time_ratio_floor: 1.0, time_floor: 0.0, ..alpha(level) };
    for (seed, deviation) in [(11, 0.0), (12, 0.1), (13, 0.4)] {
        let mut hours = Hours { requests: 100, deviation, errors: 0.01, ..hours(seed) };
        let mut alarms = 0;
        for _ in 0..references {
            let earlier = hours.earlier(16);
            let reference = Reference::of(&earlier);
            for _ in 0..windows {
                let report = reference.judge(&hours.window(1.0, 0.01), &bare);
                alarms += u32::from(report.verdict == TrafficVerdict::Worse);
            }
        }
        let all = f64::from(references * windows);
        let most = level * all + 3.0 * (level * all).sqrt();
        assert!(f64::from(alarms) <= most, "deviation {deviation}: {alarms} of {all}");
    }
}
