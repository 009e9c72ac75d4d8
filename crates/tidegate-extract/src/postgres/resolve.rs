//! From what the secret says to the addresses that are tried, each with the settings of a connection.

use std::io;
use std::time::Duration;

use tidegate_types::Reason;
use tokio::net::lookup_host;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::ExtractError;

/// Long enough for a server under load, short enough that the next address gets its turn.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A coordinator's connection rests for as long as the chunks are read; gateways forget silent ones.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 6;
const DEFAULT_PORT: u16 = 5432;

/// One configuration per address, in the order in which they are tried.
pub(super) async fn addresses(
    asked: &Config,
    application: &str,
) -> Result<Vec<(Config, String)>, ExtractError> {
    let ports = asked.get_ports();
    let port_of =
        |index: usize| ports.get(index).or_else(|| ports.first()).copied().unwrap_or(DEFAULT_PORT);
    let database = asked.get_dbname().or_else(|| asked.get_user()).unwrap_or_default();
    let mut found = Vec::new();
    let mut failure = None;
    for (index, host) in asked.get_hosts().iter().enumerate() {
        let port = port_of(index);
        let mut one = single(asked, application, port);
        match host {
            Host::Unix(folder) => {
                one.host_path(folder);
                found.push((one, format!("{}/{database}", folder.display())));
            }
            Host::Tcp(name) => {
                one.host(name);
                let label = format!("{name}:{port}/{database}");
                match asked.get_hostaddrs().get(index) {
                    Some(address) => found.push((one.hostaddr(*address).clone(), label)),
                    None => match lookup_host((name.as_str(), port)).await {
                        Ok(resolved) => found.extend(
                            resolved
                                .map(|at| (one.clone().hostaddr(at.ip()).clone(), label.clone())),
                        ),
                        Err(error) => failure = Some(unresolved(name, error)),
                    },
                }
            }
        }
    }
    if asked.get_hosts().is_empty() {
        for (index, address) in asked.get_hostaddrs().iter().enumerate() {
            let port = port_of(index);
            let mut one = single(asked, application, port);
            // A certificate's name may be an address.
            one.host(address.to_string()).hostaddr(*address);
            found.push((one, format!("{address}:{port}/{database}")));
        }
    }
    match failure {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

fn unresolved(name: &str, error: io::Error) -> ExtractError {
    let what = format!("the source's host {name:?} cannot be resolved");
    ExtractError::transient(Reason::SourceUnreachable, what).because(error)
}

/// All but the addresses.
fn single(asked: &Config, application: &str, port: u16) -> Config {
    let mut one = Config::new();
    one.application_name(application)
        .port(port)
        .connect_timeout(asked.get_connect_timeout().copied().unwrap_or(CONNECT_LIMIT))
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .target_session_attrs(asked.get_target_session_attrs())
        .channel_binding(asked.get_channel_binding())
        .ssl_negotiation(asked.get_ssl_negotiation());
    if let Some(user) = asked.get_user() {
        one.user(user);
    }
    if let Some(password) = asked.get_password() {
        one.password(password);
    }
    if let Some(database) = asked.get_dbname() {
        one.dbname(database);
    }
    if let Some(options) = asked.get_options() {
        one.options(options);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::address::from_uri;

    #[tokio::test]
    async fn every_address_of_every_host_is_tried_with_its_own_port() {
        let asked =
            from_uri("postgresql://u:p@127.0.0.1:1,127.0.0.2:2/d?host=/run/pg", "db", "uri")
                .unwrap();
        let found = addresses(&asked, "tidegate/x").await.unwrap();
        let labels: Vec<_> = found.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels[..2], ["127.0.0.1:1/d", "127.0.0.2:2/d"]);
        assert!(found.iter().all(|(one, _)| one.get_application_name() == Some("tidegate/x")));
    }
}
