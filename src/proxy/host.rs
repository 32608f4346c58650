//! Whom a request addresses by its host.
//!
//! 1. A provider's own host (the host and port of its `api_base`; case and one trailing dot do not
//!    matter, and the default ports 80 and 443 stand for each other, because an HTTP-proxy style
//!    caller says `http://`): that provider, if it is the only one there. Two providers on one host
//!    cannot be told apart: refused, with the advice to use path prefixes.
//! 2. Ourselves (loopback addresses, `localhost`, the listener's own address): the path's first
//!    segment names the provider.
//! 3. A unix socket or a listener opened with `allow_remote` is reached under names we cannot know:
//!    there, single-label names count as ourselves, and with `allow_remote` every name in an
//!    origin-form target.
//! 4. Anything else is refused. This also stops a web page that points its own name at 127.0.0.1
//!    (DNS rebinding) from using a user's token through a browser.

use std::net::IpAddr;

use http::uri::Authority;

use super::Config;
use crate::{http::Listen, provider::ApiBase};

/// Whom a host stands for. Providers are given by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addressee {
    /// The one provider that lives there.
    Provider(usize),
    /// This proxy.
    Ourselves,
    /// More than one provider.
    Ambiguous,
    /// Nobody we know.
    Stranger,
}

/// How the caller wrote where it wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A path, and a Host header or `:authority`.
    Origin,
    /// A whole address, as to an HTTP proxy.
    Absolute,
}

/// Knows the hosts; see the [module docs](self).
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    providers: Vec<(String, Option<u16>)>,
    own: Option<IpAddr>,
    allow_remote: bool,
    any_label: bool,
}

// === impl Hosts ===

impl Hosts {
    /// The hosts of `providers`, in their order, and of the listener that `config` describes.
    pub(super) fn new<'a>(config: &Config, providers: impl Iterator<Item = &'a ApiBase>) -> Self {
        let own = match &config.listen {
            Listen::Tcp(address) => Some(address.ip()),
            Listen::Unix(_) => None,
        };
        Self {
            providers: providers
                .map(|base| normal(base.authority(), base.scheme().as_str()))
                .collect(),
            own,
            allow_remote: config.allow_remote,
            any_label: config.allow_remote || own.is_none(),
        }
    }

    /// Whom `authority` stands for.
    pub(super) fn addressee(&self, authority: &Authority, form: Form) -> Addressee {
        let host = bare(authority.host());
        // The common case first: an address literal needs no comparison with names.
        let port = meaningful_port(authority.port_u16());
        let mut owners = (0..)
            .zip(&self.providers)
            .filter(|(_, (name, at))| *at == port && name.eq_ignore_ascii_case(host));
        match (owners.next(), owners.next()) {
            (Some((index, _)), None) => Addressee::Provider(index),
            (Some(_), Some(_)) => Addressee::Ambiguous,
            (None, _) if self.is_ourselves(host, form) => Addressee::Ourselves,
            (None, _) => Addressee::Stranger,
        }
    }

    fn is_ourselves(&self, host: &str, form: Form) -> bool {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            return address.to_canonical().is_loopback()
                || Some(address) == self.own
                || self.allow_remote;
        }
        host.eq_ignore_ascii_case("localhost")
            || (self.any_label && !host.contains('.'))
            || (self.allow_remote && form == Form::Origin)
    }
}

fn normal(authority: &Authority, scheme: &str) -> (String, Option<u16>) {
    let default = if scheme == "https" { 443 } else { 80 };
    let port = authority.port_u16().unwrap_or(default);
    (
        bare(authority.host()).to_ascii_lowercase(),
        meaningful_port(Some(port)),
    )
}

/// A port that tells more than the scheme does.
fn meaningful_port(port: Option<u16>) -> Option<u16> {
    port.filter(|port| !matches!(port, 80 | 443))
}

/// Without the dot that marks a complete name (RFC 1034 §3.1).
fn bare(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderName;

    use super::*;

    fn config(listen: Listen, allow_remote: bool) -> Config {
        Config {
            listen,
            user_header: HeaderName::from_static("x-user-id"),
            allow_remote,
            token_reads: false,
            replay_body_bytes: 0,
            response_timeout: Duration::ZERO,
            max_in_flight: 1,
            propagate_trace_context: false,
            policies: std::collections::BTreeMap::new(),
        }
    }

    fn hosts(listen: Listen, allow_remote: bool) -> Hosts {
        let bases = [
            "https://api.cal.com",
            "https://api.calendly.com",
            "http://127.0.0.1:9000",
            "https://shared.example.org/a",
            "https://shared.example.org/b",
        ]
        .map(|base| ApiBase::parse(base).unwrap());
        Hosts::new(&config(listen, allow_remote), bases.iter())
    }

    fn tcp() -> Listen {
        Listen::Tcp("127.0.0.1:7420".parse().unwrap())
    }

    fn ask(hosts: &Hosts, host: &str) -> Addressee {
        hosts.addressee(&host.parse().unwrap(), Form::Origin)
    }

    #[test]
    fn a_providers_host_is_matched_exactly() {
        let hosts = hosts(tcp(), false);
        for own in [
            "api.cal.com",
            "API.cal.com",
            "api.cal.com.",
            "api.cal.com:80",
            "api.cal.com:443",
        ] {
            assert_eq!(ask(&hosts, own), Addressee::Provider(0), "{own}");
        }
        assert_eq!(ask(&hosts, "127.0.0.1:9000"), Addressee::Provider(2));
        for other in [
            "api.cal.com:8080",
            "api.cal.com.evil.com",
            "xapi.cal.com",
            "cal.com",
            "api.cal.com..",
            "127.0.0.1.nip.io",
            "evil.com",
            "169.254.169.254",
            "daypass",
        ] {
            assert_eq!(ask(&hosts, other), Addressee::Stranger, "{other}");
        }
    }

    #[test]
    fn loopback_names_are_ourselves() {
        let hosts = hosts(tcp(), false);
        for own in [
            "127.0.0.1:7420",
            "localhost",
            "localhost:1",
            "[::1]:7420",
            "127.0.0.2",
        ] {
            assert_eq!(ask(&hosts, own), Addressee::Ourselves, "{own}");
        }
    }

    #[test]
    fn two_providers_on_one_host_cannot_be_told_apart() {
        let hosts = hosts(tcp(), false);
        assert_eq!(ask(&hosts, "shared.example.org"), Addressee::Ambiguous);
    }

    #[test]
    fn a_unix_socket_is_reached_under_any_label() {
        let hosts = hosts(Listen::Unix("/run/daypass.sock".into()), false);
        assert_eq!(ask(&hosts, "daypass"), Addressee::Ourselves);
        assert_eq!(ask(&hosts, "evil.com"), Addressee::Stranger);
    }

    #[test]
    fn a_remote_listener_is_reached_under_any_name_but_proxies_to_none() {
        let hosts = hosts(Listen::Tcp("0.0.0.0:7420".parse().unwrap()), true);
        assert_eq!(ask(&hosts, "daypass.ns.svc:7420"), Addressee::Ourselves);
        let evil = "evil.com".parse().unwrap();
        assert_eq!(hosts.addressee(&evil, Form::Absolute), Addressee::Stranger);
    }
}
