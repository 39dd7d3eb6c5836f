//! Guessing tokens is pointless, and made slow: a peer that failed often waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures of one peer within [`SPAN`].
const FAILURES: u32 = 5;

/// How long a failure counts.
const SPAN: Duration = Duration::from_mins(1);

/// Peers that are remembered at once.
const PEERS: usize = 4096;

/// Failed logins by peer.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<IpAddr, (Instant, u32)>>);

/// One peer: an address, or a whole IPv6 network, which a single machine can have to itself.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) & !u128::from(u64::MAX)).to_be_bytes()),
        address @ IpAddr::V4(_) => address,
    }
}

impl Throttle {
    /// How long `peer` has to wait; none when it may try.
    pub(super) fn wait(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let (since, failures) = self.0.lock().get(&network(peer)).copied()?;
        let left = SPAN.checked_sub(now.saturating_duration_since(since))?;
        (failures >= FAILURES && !left.is_zero()).then_some(left)
    }

    /// `peer` has shown a token that is not known.
    pub(super) fn failed(&self, peer: IpAddr, now: Instant) {
        let mut peers = self.0.lock();
        let over = |since: Instant| now.saturating_duration_since(since) >= SPAN;
        if peers.len() >= PEERS {
            peers.retain(|_, (since, _)| !over(*since));
        }
        if peers.len() >= PEERS
            && let Some(oldest) = peers.iter().min_by_key(|(_, (since, _))| *since).map(|(peer, _)| *peer)
        {
            peers.remove(&oldest);
        }
        let entry = peers.entry(network(peer)).or_insert((now, 0));
        if over(entry.0) {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_five_times_waits_for_the_rest_of_the_minute() {
        let throttle = Throttle::default();
        let (peer, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let begin = Instant::now();
        for failure in 0..5 {
            assert_eq!(throttle.wait(peer, begin), None, "after {failure}");
            throttle.failed(peer, begin);
        }
        assert_eq!(throttle.wait(peer, begin + Duration::from_secs(20)), Some(Duration::from_secs(40)));
        assert_eq!(throttle.wait(other, begin), None);
        assert_eq!(throttle.wait(peer, begin + SPAN), None);
        throttle.failed(peer, begin + SPAN);
        assert_eq!(throttle.wait(peer, begin + SPAN), None);
    }

    #[test]
    fn a_network_is_one_peer_and_memory_is_bounded() {
        let throttle = Throttle::default();
        let begin = Instant::now();
        for last in 0..5_u16 {
            throttle.failed(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]), begin);
        }
        assert!(throttle.wait(IpAddr::from([0x2001, 0xdb8, 0, 1, 9, 9, 9, 9]), begin).is_some());
        assert!(throttle.wait(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 0]), begin).is_none());
        for n in 0..10_000_u32 {
            throttle.failed(IpAddr::from(n.to_be_bytes()), begin);
        }
        assert!(throttle.0.lock().len() <= PEERS);
    }
}
