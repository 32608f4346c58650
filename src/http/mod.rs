//! HTTP as this house speaks it, whoever the other side is.
//!
//! * [`server`]: the accept loop of every listener; [`guard`] stands before its parser.
//! * [`client`]: pooled connections to providers.
//! * [`service`]: of what kind the layers are.
//! * [`body`]: the one body type of the outbound stack; [`replay`] keeps a copy of what streams.
//! * [`hop_by_hop`]: which headers end at a proxy; [`names`]: sets of them.
//! * [`problem`]: errors as `application/problem+json`, and the layer that makes them.
//! * [`access_log`]: one event per request.
//! * [`tls`]: the one TLS configuration: trust roots, and the CA file of the configuration.

use std::{fmt, net::SocketAddr, path::PathBuf};

mod accepted;
pub mod access_log;
pub mod body;
pub mod client;
mod executor;
pub mod guard;
pub mod hop_by_hop;
pub mod names;
pub mod problem;
pub mod replay;
mod request_span;
pub mod server;
pub mod service;
mod serving;
pub mod tls;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket at this path.
    Unix(PathBuf),
}

// === impl Listen ===

impl Listen {
    /// Whether only processes on this machine (or in this pod) can connect.
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
