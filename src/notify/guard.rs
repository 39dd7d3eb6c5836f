//! Keeps messages away from addresses that are not of the open internet, unless they are allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Refuses `url` when its host is an address that needs to be allowed; a name is judged when it has been resolved.
///
/// # Errors
///
/// What the address is, and how it is allowed.
pub(super) fn check_literal(url: &reqwest::Url) -> Result<(), String> {
    let Some(host) = url.host_str() else { return Ok(()) };
    let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return Ok(()) };
    match reserved(address) {
        Some(what) => Err(refusal(address, what)),
        None => Ok(()),
    }
}

fn refusal(address: IpAddr, what: &str) -> String {
    format!("{address} is {what}; `allow_private: true` would allow it")
}

/// Resolves names to addresses of the open internet only. What it gives is what is connected to, so that a name which
/// changes its mind gains nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let first = found.first().map(SocketAddr::ip);
            let public: Vec<SocketAddr> =
                found.into_iter().filter(|address| reserved(address.ip()).is_none()).collect();
            match first.and_then(|address| reserved(address).map(|what| refusal(address, what))) {
                Some(refusal) if public.is_empty() => {
                    Err(format!("`{}` leads to {refusal}", name.as_str()).into())
                }
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// What is special about an address that is not of the open internet.
fn reserved(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => reserved_v4(address),
        IpAddr::V6(address) => reserved_v6(address),
    }
}

fn reserved_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Some("an address of this machine"),
        (0, ..) => Some("an address of no machine"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Some("a private address"),
        // 169.254.169.254 gives out the credentials of a cloud machine.
        (169, 254, _) => Some("a link-local address"),
        (192, 0, 0 | 2) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) | (240..=255, ..) => {
            Some("a reserved address")
        }
        (224..=239, ..) => Some("a multicast address"),
        _ => None,
    }
}

fn reserved_v6(address: Ipv6Addr) -> Option<&'static str> {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        reserved_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("an address of this machine"),
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an address of no machine"),
        // Addresses of IPv4 in other clothes: mapped, compatible, translated (NAT64), 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] | [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0x100, 0, 0, 0, ..] | [0x2001, 0 | 0xdb8, ..] => Some("a reserved address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_open_internet_pass() {
        for (text, refused) in [
            ("127.0.0.1", true),
            ("127.8.9.10", true),
            ("0.0.0.0", true),
            ("10.0.0.1", true),
            ("172.15.0.1", false),
            ("172.16.0.1", true),
            ("172.31.255.255", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("100.100.100.200", true),
            ("169.254.169.254", true),
            ("192.0.2.1", true),
            ("198.19.0.1", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("93.184.216.34", false),
            ("8.8.8.8", false),
            ("::1", true),
            ("::", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:169.254.169.254", true),
            ("::ffff:8.8.8.8", false),
            ("::10.0.0.1", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("64:ff9b::808:808", false),
            ("2002:7f00:1::", true),
            ("fd00:ec2::254", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("2001:db8::1", true),
            ("2606:4700::1111", false),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(reserved(address).is_some(), refused, "{text}");
        }
    }

    #[test]
    fn an_address_in_other_spellings_is_the_same_address() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]:8080/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data/",
        ] {
            let problem = check_literal(&reqwest::Url::parse(url).unwrap()).unwrap_err();
            assert!(problem.contains("`allow_private: true`"), "{url}: {problem}");
        }
        for url in ["https://hooks.example.com/x", "http://8.8.8.8/", "http://localhost/"] {
            assert_eq!(check_literal(&reqwest::Url::parse(url).unwrap()), Ok(()), "{url}");
        }
    }
}
