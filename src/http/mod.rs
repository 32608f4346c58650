//! HTTP as this house speaks it, whoever the other side is.
//!
//! * [`tls`]: the one TLS configuration: trust roots, and the CA file of the configuration.

use std::{fmt, net::SocketAddr, path::PathBuf};

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
