//! What can go wrong inside, and what the caller is told about it.
//!
//! Decisions branch on the code that begins a server's refusal (`OOM`, `READONLY`…). Before Redis 7
//! a refusal inside a script has the code `ERR` and names its own within its text.

use std::error::Error as StdError;

use redis::{ErrorKind, RedisError};

use super::address::{Address, Kind};
use crate::store::Error;

/// A failure within the backend. Cheap to clone: one failed attempt to connect fails all who wait.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The driver or the server complained.
    Driver(RedisError),
    /// No answer in time.
    Silence,
    /// No sentinel names a master that is one.
    NoMaster { complaint: Option<RedisError> },
    /// There is no store, and none was to be made.
    Nothing,
    /// The store is newer than this version.
    FromTheFuture { found: u32, known: u32 },
    /// A row contradicts itself.
    Row { row: String, what: String },
}

/// What may help against a failure of which it is known that sending again does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Another connection, perhaps to another server.
    Reconnect,
    /// A moment of patience.
    Wait,
    /// Nothing that is known here.
    None,
}

/// Codes that scripts of older servers hide within their text.
const HIDDEN: [&str; 5] = ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "NOPERM"];

/// What is the matter, and whether it is writing that is refused.
struct Plain {
    what: String,
    refuses: bool,
}

/// The code of what the server said.
pub(super) fn code(error: &RedisError) -> Option<String> {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return Some("WRONGPASS".to_owned());
    }
    let code = error.code()?;
    let detail = error.detail().unwrap_or_default();
    if code == "ERR" {
        // What a server says of a long command before any password.
        if detail.contains("unauthenticated") {
            return Some("NOAUTH".to_owned());
        }
        if detail.contains("The user executing the script can't") {
            return Some("NOPERM".to_owned());
        }
        let hidden = HIDDEN
            .into_iter()
            .find(|hidden| detail.split([' ', ':', '-']).any(|word| word == *hidden));
        if let Some(hidden) = hidden {
            return Some(hidden.to_owned());
        }
    }
    Some(code.to_owned())
}

/// See [`Remedy`]. Scripts recognise a call that is sent again, so a lost answer is no obstacle.
pub(super) fn remedy(error: &RedisError) -> Remedy {
    if error.is_connection_dropped() {
        return Remedy::Reconnect;
    }
    match code(error).as_deref() {
        // A master that has lost its replicas may have lost its office too.
        Some("READONLY" | "NOREPLICAS") => Remedy::Reconnect,
        Some("LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY") => Remedy::Wait,
        _ if error.kind() == ErrorKind::ClusterConnectionNotFound => Remedy::Wait,
        _ => Remedy::None,
    }
}

// === impl Failure ===

impl Failure {
    /// What the caller of the store is told.
    pub(super) fn into_error(self, address: &Address) -> Error {
        let at = address.shown();
        match self {
            Self::Row { row, what } => Error::Inconsistent { row, what },
            Self::FromTheFuture { found, known } => Error::FromTheFuture { found, known },
            Self::Nothing => Error::NotReady {
                what: format!(
                    "there are no connections in Redis at {at} yet; look whether store.url is right, \
                     `daypass run` makes what is needed"
                ),
            },
            Self::Silence => Error::Unavailable {
                what: format!(
                    "Redis at {at} does not answer; look whether it runs and is reachable"
                ),
                source: None,
            },
            Self::NoMaster { complaint } => Error::Unavailable {
                what: format!(
                    "no sentinel names a usable master for {at}; look whether the sentinels run, \
                     know that name, and have finished a failover"
                ),
                source: complaint.map(|complaint| Box::new(complaint) as _),
            },
            Self::Driver(error) => driver(error, address, &at),
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Driver(error)
    }
}

impl From<redis::ParsingError> for Failure {
    fn from(error: redis::ParsingError) -> Self {
        Self::Driver(error.into())
    }
}

fn driver(error: RedisError, address: &Address, at: &str) -> Error {
    let plain = match code(&error) {
        Some(code) => refused(&code, &error, address, at),
        None => Plain::unavailable(unreachable(&error, at)),
    };
    let source: Option<Box<dyn StdError + Send + Sync>> = Some(Box::new(error));
    let what = plain.what;
    if plain.refuses {
        Error::NotWritable { what, source }
    } else {
        Error::Unavailable { what, source }
    }
}

/// What a refusal means, by its code.
fn refused(code: &str, error: &RedisError, address: &Address, at: &str) -> Plain {
    match code {
        "WRONGPASS" | "NOAUTH" => Plain::unavailable(format!(
            "Redis at {at} refuses the user or password; mend them in store.url"
        )),
        "NOPERM" => Plain::refuses(format!(
            "the Redis user may not do what daypass needs at {at} ({}); grant it the commands and \
             keys that docs/configuration.md lists",
            error.detail().unwrap_or("no details")
        )),
        "OOM" => Plain::refuses(format!(
            "Redis at {at} is out of memory; raise maxmemory, and keep maxmemory-policy noeviction"
        )),
        "READONLY" => Plain::refuses(format!(
            "Redis at {at} is a read-only replica; name the master in store.url, or the sentinels"
        )),
        "MISCONF" => Plain::refuses(format!(
            "Redis at {at} cannot write to its disk; make room, or look at its log"
        )),
        "NOREPLICAS" => Plain::refuses(format!(
            "Redis at {at} has fewer replicas than min-replicas-to-write asks for; bring them back"
        )),
        "LOADING" => Plain::unavailable(format!(
            "Redis at {at} is loading its data from disk; it will be back by itself"
        )),
        "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" => Plain::unavailable(format!(
            "a part of Redis at {at} is down or moving; look at CLUSTER INFO, or wait for the failover"
        )),
        "MOVED" | "ASK" | "CROSSSLOT" if address.kind != Kind::Cluster => Plain::unavailable(
            format!("Redis at {at} is a node of a cluster; write redis-cluster:// in store.url"),
        ),
        "BUSY" => Plain::unavailable(format!(
            "Redis at {at} is busy with another client's script; look at SLOWLOG"
        )),
        _ => Plain::unavailable(format!(
            "Redis at {at} answered unexpectedly with {code}; the log has its complaint"
        )),
    }
}

/// Why there is no connection.
fn unreachable(error: &RedisError, at: &str) -> String {
    if is_certificate(error) {
        return format!(
            "the TLS certificate of Redis at {at} is not trusted, or is for another name; name its CA \
             in tls.ca_file, and the server as its certificate does"
        );
    }
    if error.is_connection_refusal() {
        return format!("nobody listens at {at}; start Redis, or mend store.url");
    }
    if error.is_timeout() {
        return format!("Redis at {at} does not answer; look whether it runs and is reachable");
    }
    if error.kind() == ErrorKind::ClusterConnectionNotFound {
        return format!("no node of {at} can be reached; look whether they run");
    }
    format!(
        "the connection to Redis at {at} failed; look whether it runs, and whether it speaks TLS \
         exactly if store.url begins with rediss"
    )
}

/// The driver keeps the complaint of TLS to itself, but shows its text, which rustls begins so.
fn is_certificate(error: &RedisError) -> bool {
    error.to_string().contains("invalid peer certificate")
}

// === impl Plain ===

impl Plain {
    const fn unavailable(what: String) -> Self {
        Self {
            what,
            refuses: false,
        }
    }

    const fn refuses(what: String) -> Self {
        Self {
            what,
            refuses: true,
        }
    }
}
