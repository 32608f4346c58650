//! Where the server is and how to sign in: a URL, which holds a password and is never shown.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use thiserror::Error;
use tokio_postgres::config::{Config, Host, SslMode, TargetSessionAttrs};

use crate::{
    base::secret::{ReloadableSecret, Secret},
    store::Way,
};

/// How long one attempt to connect may take, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that went away in silence is found out after about a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

/// A PostgreSQL server and database, and who to be there: `postgres://user:password@host/database`.
/// Clones share user and password, which may be replaced ([`Address::adopt`]).
#[derive(Clone)]
pub struct Address {
    /// Without `sslmode`, which `tls` holds.
    url: ReloadableSecret,
    tls: TlsMode,
    place: String,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// Not at all.
    Disable,
    /// TLS if the server has it, whatever its certificate says.
    Prefer,
    /// TLS, whatever the certificate says.
    Require,
    /// TLS, with a certificate that is trusted and names the host.
    VerifyFull,
}

/// Why a text is no address. Says what is expected, never what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidAddress {
    /// Not a URL of PostgreSQL.
    #[error(
        "expected \"postgres://user:password@host:port/database\"; special characters in the password \
         are written as %XX, and options are those of tokio-postgres (connect_timeout, \
         target_session_attrs…)"
    )]
    Url,
    /// No host.
    #[error(
        "the PostgreSQL URL names no host; for a Unix socket write \
         \"postgres://user@/database?host=/var/run/postgresql\""
    )]
    NoHost,
    /// A mode that does not exist.
    #[error("sslmode is one of disable, prefer, require, verify-ca and verify-full")]
    SslMode,
}

// === impl Address ===

impl Address {
    /// Takes `text` for an address.
    ///
    /// `sslmode` is as in libpq, but for two points: without it certificate and name are verified
    /// (unless the server is on this machine), and `verify-ca` verifies the name as well.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let (url, mode) = without_ssl_mode(text);
        let config: Config = url
            .parse()
            .map_err(|_names_what_it_found| InvalidAddress::Url)?;
        if config.get_hosts().is_empty() {
            return Err(InvalidAddress::NoHost);
        }
        let tls = match mode {
            Some("disable") => TlsMode::Disable,
            Some("prefer") => TlsMode::Prefer,
            Some("require") => TlsMode::Require,
            Some("verify-ca" | "verify-full") => TlsMode::VerifyFull,
            Some(_) => return Err(InvalidAddress::SslMode),
            None if config.get_hosts().iter().all(is_local) => TlsMode::Prefer,
            None => TlsMode::VerifyFull,
        };
        Ok(Self {
            place: place(&config),
            url: ReloadableSecret::new(Secret::new(url)),
            tls,
        })
    }

    /// Takes over user and password of `other`, for connections made from now on; whether they are
    /// new. `None` if it is the address of another database, or protected otherwise.
    pub(in crate::store) fn adopt(&self, other: &Self) -> Option<bool> {
        if (&self.place, self.tls) != (&other.place, other.tls) {
            return None;
        }
        let url = other.url.current();
        let is_new = *self.url.current() != *url;
        if is_new {
            self.url.replace(Secret::clone(&url));
        }
        Some(is_new)
    }

    /// Whether it has a password.
    pub(in crate::store) fn has_password(&self) -> bool {
        let config = self.driver_config();
        config.is_ok_and(|config| config.get_password().is_some())
    }

    /// How the way there is protected.
    pub(in crate::store) fn way(&self) -> Way {
        let config = self.driver_config();
        if config.is_ok_and(|config| config.get_hosts().iter().all(is_local)) {
            return Way::Local;
        }
        match self.tls {
            TlsMode::Disable | TlsMode::Prefer => Way::Open,
            TlsMode::Require => Way::Unverified,
            TlsMode::VerifyFull => Way::Verified,
        }
    }

    pub(super) const fn tls(&self) -> TlsMode {
        self.tls
    }

    /// Hosts, ports and database, for messages.
    pub(in crate::store) fn place(&self) -> &str {
        &self.place
    }

    /// What the driver needs to know.
    pub(super) fn driver_config(&self) -> Result<Config, InvalidAddress> {
        let url: Arc<Secret<String>> = self.url.current();
        let mut config: Config = url
            .danger_expose()
            .parse()
            .map_err(|_names_what_it_found| InvalidAddress::Url)?;
        let all_unix = config
            .get_hosts()
            .iter()
            .all(|host| matches!(host, Host::Unix(_)));
        config.ssl_mode(match self.tls {
            _ if all_unix => SslMode::Disable,
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyFull => SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("daypass");
        }
        // Of several servers, the one that takes writes.
        if config.get_hosts().len() > 1
            && config.get_target_session_attrs() == TargetSessionAttrs::Any
        {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        config
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_EVERY)
            .keepalives_retries(KEEPALIVE_TRIES);
        Ok(config)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        (self.tls, &self.place) == (other.tls, &other.place)
            && *self.url.current() == *other.url.current()
    }
}

impl Eq for Address {}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("place", &self.place)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// The driver knows fewer modes than libpq, so it is not shown any.
fn without_ssl_mode(text: &str) -> (String, Option<&str>) {
    let Some((base, query)) = text.rsplit_once('?') else {
        return (text.to_owned(), None);
    };
    let mut mode = None;
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match pair.strip_prefix("sslmode=") {
            Some(value) => mode = Some(value),
            None => rest.push(pair),
        }
    }
    let url = if rest.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", rest.join("&"))
    };
    (url, mode)
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
    }
}

fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(n, host)| {
        let port = ports.get(n).or_else(|| ports.first()).unwrap_or(&5432);
        match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    let database = config.get_dbname().or_else(|| config.get_user());
    format!("{}/{}", hosts.join(","), database.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn the_password_is_not_shown() {
        let address = parse("postgres://anna:hidden@db.example:6432/pass?sslmode=require");
        let shown = format!("{address:?}");
        assert!(
            !shown.contains("hidden") && !shown.contains("anna"),
            "{shown}"
        );
        assert_eq!(address.place(), "db.example:6432/pass");
        let error = Address::parse("postgres://anna:hidden@db:port/x").unwrap_err();
        assert!(!error.to_string().contains("hidden"), "{error}");
    }

    #[test]
    fn only_user_and_password_are_taken_over_and_every_clone_sees_them() {
        let address = parse("postgres://anna:old@db/pass?sslmode=require");
        let clone = address.clone();
        for elsewhere in [
            "postgres://anna:new@other/pass?sslmode=require",
            "postgres://anna:new@db/other?sslmode=require",
            "postgres://anna:new@db/pass?sslmode=disable",
        ] {
            assert_eq!(address.adopt(&parse(elsewhere)), None, "{elsewhere}");
        }
        let new = parse("postgres://ben:new@db/pass?sslmode=require");
        assert_eq!(address.adopt(&new), Some(true));
        assert_eq!(address.adopt(&new), Some(false));
        let config = clone.driver_config().unwrap();
        assert_eq!(config.get_user(), Some("ben"));
        assert_eq!(config.get_password(), Some(&b"new"[..]));
        assert!(clone == new && clone.has_password());
    }

    #[test]
    fn a_question_mark_in_the_password_is_part_of_it() {
        let address = parse("postgres://anna:hid?den@db/x?sslmode=require");
        assert_eq!(
            (address.place(), address.tls()),
            ("db:5432/x", TlsMode::Require)
        );
        let config = address.driver_config().unwrap();
        assert_eq!(config.get_password(), Some("hid?den".as_bytes()));
    }

    #[test]
    fn without_a_mode_only_this_machine_goes_unverified() {
        for (url, mode) in [
            ("postgres://u@db.example/d", TlsMode::VerifyFull),
            ("postgres://u@127.0.0.1/d", TlsMode::Prefer),
            ("postgresql://u@localhost/d", TlsMode::Prefer),
            ("postgres://u@/d?host=/var/run/postgresql", TlsMode::Prefer),
            ("postgres://u@localhost,db.example/d", TlsMode::VerifyFull),
            ("postgres://u@db/d?sslmode=disable", TlsMode::Disable),
            (
                "postgres://u@db/d?connect_timeout=3&sslmode=require",
                TlsMode::Require,
            ),
            (
                "postgres://u@127.0.0.1/d?sslmode=verify-full",
                TlsMode::VerifyFull,
            ),
            (
                "postgres://u@127.0.0.1/d?sslmode=verify-ca",
                TlsMode::VerifyFull,
            ),
        ] {
            assert_eq!(parse(url).tls(), mode, "{url}");
            assert!(parse(url).driver_config().is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let refused = |text| Address::parse(text).unwrap_err();
        assert_eq!(
            refused("postgres://u@db/d?sslmode=allow"),
            InvalidAddress::SslMode
        );
        assert_eq!(refused("postgres:///d"), InvalidAddress::NoHost);
        assert_eq!(refused("postgres://u@db/d?colour=red"), InvalidAddress::Url);
    }

    #[test]
    fn of_several_servers_the_one_that_takes_writes_is_used() {
        let config = parse("postgres://u@a,b/d").driver_config().unwrap();
        assert_eq!(
            config.get_target_session_attrs(),
            TargetSessionAttrs::ReadWrite
        );
        let config = parse("postgres://u@a/d").driver_config().unwrap();
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::Any);
    }
}
