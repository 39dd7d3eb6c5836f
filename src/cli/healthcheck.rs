//! `driftline healthcheck`: what a container's health check runs, as images hold no curl.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::ExitStatus;
use crate::config::Settings;

/// How long the sidecar may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `/livez` on the admin port; says why there is no good answer.
pub(super) async fn run(settings: &Settings, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    let url = format!("http://{}/livez", reachable(settings.listen.admin));
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    match client.get(&url).send().await {
        Ok(answer) if answer.status().is_success() => {
            writeln!(out, "ok")?;
            Ok(ExitStatus::Success)
        }
        Ok(answer) => {
            writeln!(out, "{url} answers {}", answer.status())?;
            Ok(ExitStatus::Failure)
        }
        Err(error) => {
            let cause: &dyn std::error::Error = &error;
            let reason = std::iter::successors(Some(cause), |error| error.source()).last().unwrap_or(cause);
            writeln!(out, "{url} does not answer: {reason}")?;
            Ok(ExitStatus::Failure)
        }
    }
}

/// Where an address that stands for all of the machine's is reached on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sidecar_that_is_not_there_is_a_finding() {
        crate::app::install_crypto();
        let mut out = Vec::new();
        let settings = Settings::parse("listen: {admin: '0.0.0.0:1'}", "driftline.yaml").unwrap();
        assert_eq!(run(&settings, &mut out).await.unwrap(), ExitStatus::Failure);
        let said = String::from_utf8(out).unwrap();
        assert!(said.starts_with("http://127.0.0.1:1/livez does not answer: Connection refused"), "{said}");
    }
}
