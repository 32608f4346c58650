//! Where the servers are: the URLs that `store.url` may have.
//!
//! | URL | |
//! |---|---|
//! | `redis://user:password@host:6379/0` | one server |
//! | `redis-sentinel://user:password@a,b:26379,c/name` | the master that the sentinels call `name` |
//! | `redis-cluster://user:password@a,b,c` | a cluster, known by some of its nodes |
//!
//! `rediss`, `rediss-sentinel` and `rediss-cluster` are the same over TLS. `?prefix=` sets what every
//! key begins with. A password's special characters are percent-encoded.

use std::{fmt, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;

use crate::{base::secret::Secret, store::Way};

/// What keys begin with unless the URL says otherwise.
const PREFIX: &str = "daypass";

/// Which servers, and as whom. The password is not shown. Clones share user and password, which may be
/// replaced ([`Address::adopt`]).
#[derive(Clone)]
pub struct Address {
    pub(super) kind: Kind,
    pub(super) hosts: Vec<Host>,
    pub(super) tls: bool,
    credentials: Arc<ArcSwap<Credentials>>,
    pub(super) database: u32,
    pub(super) prefix: String,
}

/// Who to be.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret<String>>,
}

/// How the servers belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One server.
    Single,
    /// A master with replicas, watched by sentinels, of which `hosts` are some.
    Sentinel {
        /// What the sentinels call the master.
        master: String,
    },
    /// Many masters that share the slots.
    Cluster,
}

/// A host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

// === impl Address ===

impl Address {
    /// Whether `url` is one of those that this module reads.
    pub fn is_meant(url: &str) -> bool {
        url.split_once(':')
            .is_some_and(|(scheme, _)| kind_of(scheme).is_some())
    }

    /// Reads a URL. Says what was expected, and repeats nothing of it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(EXPECTED)?;
        let (kind, tls) = kind_of(scheme).ok_or(EXPECTED)?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = read_hosts(hosts, &kind)?;
        let credentials = credentials.map_or(Ok(Credentials::NONE), read_credentials)?;
        let (kind, database) = read_path(kind, path)?;
        Ok(Self {
            kind,
            hosts,
            tls,
            credentials: Arc::new(ArcSwap::from_pointee(credentials)),
            database,
            prefix: query.map_or_else(|| Ok(PREFIX.to_owned()), read_prefix)?,
        })
    }

    /// User and password as they are now. Ask again for each connection.
    pub(super) fn credentials(&self) -> Arc<Credentials> {
        self.credentials.load_full()
    }

    /// Takes over user and password of `other`, for connections made from now on; whether they are
    /// new. `None` if it is the address of other servers, or of others' keys on them.
    pub(in crate::store) fn adopt(&self, other: &Self) -> Option<bool> {
        if !self.is_place_of(other) {
            return None;
        }
        let new = other.credentials();
        let is_new = *self.credentials() != *new;
        if is_new {
            self.credentials.store(new);
        }
        Some(is_new)
    }

    /// Whether it has a password.
    pub(in crate::store) fn has_password(&self) -> bool {
        self.credentials().password.is_some()
    }

    /// How the way there is protected.
    pub(in crate::store) fn way(&self) -> Way {
        let is_local = |host: &Host| {
            let address = host.name.parse::<IpAddr>();
            host.name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        if self.tls {
            Way::Verified
        } else if self.hosts.iter().all(is_local) {
            Way::Local
        } else {
            Way::Open
        }
    }

    fn is_place_of(&self, other: &Self) -> bool {
        let place = |address: &Self| (address.tls, address.database);
        place(self) == place(other)
            && self.kind == other.kind
            && self.hosts == other.hosts
            && self.prefix == other.prefix
    }

    /// The servers, for messages: without user, password and options.
    pub(in crate::store) fn shown(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        let hosts = hosts.join(",");
        match &self.kind {
            Kind::Single => hosts,
            Kind::Sentinel { master } => format!("{master} (sentinels {hosts})"),
            Kind::Cluster => format!("the cluster of {hosts}"),
        }
    }
}

impl Credentials {
    const NONE: Self = Self {
        user: None,
        password: None,
    };
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.is_place_of(other) && *self.credentials() == *other.credentials()
    }
}

impl Eq for Address {}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("kind", &self.kind)
            .field("hosts", &self.hosts)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// What is said of anything that is none of the URLs.
const EXPECTED: &str = "expected \"redis://host\", \"rediss://host\", \"redis-cluster://a,b,c\" or \
                        \"redis-sentinel://a,b,c/name\"";

fn kind_of(scheme: &str) -> Option<(Kind, bool)> {
    let master = String::new();
    match scheme {
        "redis" => Some((Kind::Single, false)),
        "rediss" => Some((Kind::Single, true)),
        "redis-sentinel" => Some((Kind::Sentinel { master }, false)),
        "rediss-sentinel" => Some((Kind::Sentinel { master }, true)),
        "redis-cluster" => Some((Kind::Cluster, false)),
        "rediss-cluster" => Some((Kind::Cluster, true)),
        _ => None,
    }
}

fn read_hosts(text: &str, kind: &Kind) -> Result<Vec<Host>, String> {
    let port = match kind {
        Kind::Sentinel { .. } => 26_379,
        Kind::Single | Kind::Cluster => 6379,
    };
    let hosts: Option<Vec<Host>> = text.split(',').map(|host| read_host(host, port)).collect();
    let hosts = hosts.ok_or("expected a host, or a host and a port such as \"redis:6379\"")?;
    if *kind == Kind::Single && hosts.len() > 1 {
        return Err(
            "several hosts make \"redis-cluster://a,b,c\" or \"redis-sentinel://a,b,c/name\""
                .to_owned(),
        );
    }
    Ok(hosts)
}

fn read_host(text: &str, port: u16) -> Option<Host> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, after) = rest.split_once(']')?;
            let port = match after.strip_prefix(':') {
                Some(port) => port.parse().ok()?,
                None if after.is_empty() => port,
                None => return None,
            };
            (name, port)
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, port.parse().ok()?),
            None => (text, port),
        },
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    let fits = !name.is_empty() && name.bytes().all(allowed) && port != 0;
    fits.then(|| Host {
        name: name.to_owned(),
        port,
    })
}

fn read_credentials(text: &str) -> Result<Credentials, String> {
    let (user, password) = text
        .split_once(':')
        .ok_or("expected \"user:password@\" or \":password@\" before the host")?;
    let unusable = || "the user or password has a '%' that begins no percent-encoding".to_owned();
    let user = decode(user).ok_or_else(unusable)?;
    let password = Secret::new(decode(password).ok_or_else(unusable)?);
    let given = |text: &String| !text.is_empty();
    Ok(Credentials {
        user: Some(user).filter(given),
        password: Some(password).filter(|password| given(password.danger_expose())),
    })
}

fn read_path(kind: Kind, path: &str) -> Result<(Kind, u32), String> {
    match kind {
        Kind::Sentinel { .. } if path.is_empty() || path.contains('/') => Err(
            "expected the master's name after the sentinels: \"redis-sentinel://a,b,c/name\""
                .to_owned(),
        ),
        Kind::Sentinel { .. } => {
            let master = path.to_owned();
            Ok((Kind::Sentinel { master }, 0))
        }
        Kind::Cluster if !path.is_empty() => {
            Err("a cluster has no numbered databases: expected nothing after the hosts".to_owned())
        }
        Kind::Single | Kind::Cluster if path.is_empty() => Ok((kind, 0)),
        Kind::Single | Kind::Cluster => {
            let database = path.parse();
            let database = database
                .map_err(|_not_a_number| "expected the number of a database after the host")?;
            Ok((kind, database))
        }
    }
}

fn read_prefix(query: &str) -> Result<String, String> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    match query.split_once('=') {
        Some(("prefix", prefix))
            if (1..=64).contains(&prefix.len()) && prefix.bytes().all(named) =>
        {
            Ok(prefix.to_owned())
        }
        Some(("prefix", _)) => {
            Err("a prefix is 1 to 64 letters, digits, '-', '_', '.' or ':'".to_owned())
        }
        _ => Err("the only option of the URL is \"?prefix=\"".to_owned()),
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    #[test]
    fn every_kind_of_url_is_read() {
        let single = fine("rediss://anna:p%40ss@[::1]:7000/3?prefix=staging");
        assert_eq!((single.tls, single.database), (true, 3));
        let credentials = single.credentials();
        assert_eq!(credentials.user.as_deref(), Some("anna"));
        assert_eq!(
            credentials.password.as_ref().unwrap().danger_expose(),
            "p@ss"
        );
        assert_eq!(
            (single.shown(), single.prefix.as_str()),
            ("[::1]:7000".to_owned(), "staging")
        );
        let sentinel = fine("redis-sentinel://:secret@a,b:1,c/main");
        assert_eq!(sentinel.shown(), "main (sentinels a:26379,b:1,c:26379)");
        assert_eq!(sentinel.credentials().user, None);
        assert!(sentinel.has_password());
        assert_eq!(
            fine("redis-cluster://a,b").shown(),
            "the cluster of a:6379,b:6379"
        );
    }

    #[test]
    fn only_user_and_password_are_taken_over_and_every_clone_sees_them() {
        let address = fine("redis://anna:old@h/1?prefix=p");
        let clone = address.clone();
        for elsewhere in [
            "redis://anna:new@other/1?prefix=p",
            "redis://anna:new@h/2?prefix=p",
            "redis://anna:new@h/1?prefix=q",
            "rediss://anna:new@h/1?prefix=p",
            "redis-cluster://anna:new@h?prefix=p",
        ] {
            assert_eq!(address.adopt(&fine(elsewhere)), None, "{elsewhere}");
        }
        let new = fine("redis://ben:new@h/1?prefix=p");
        assert_eq!(address.adopt(&new), Some(true));
        assert_eq!(address.adopt(&new), Some(false));
        assert_eq!(clone.credentials().user.as_deref(), Some("ben"));
        assert!(clone == new);
    }

    #[test]
    fn nothing_else_is_read_and_no_password_is_repeated() {
        for url in [
            "redis://u:hunter2@a,b",
            "redis://hunter2@a",
            "redis://u:hunter2%@a",
            "redis://u:hunter2@a/one",
            "redis://u:hunter2@a:b",
            "redis://u:hunter2@",
            "redis://u:hunter2@a?db=hunter2",
            "redis://u:hunter2@a?prefix={hunter2}",
            "redis-cluster://u:hunter2@a/1",
            "redis-sentinel://u:hunter2@a",
            "memcached://hunter2",
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let address = fine("redis://anna:hunter2@h");
        let shown = format!("{address:?} {}", address.shown());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
