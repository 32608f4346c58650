//! Where the demo listens: where it was told to, else the usual ports, else any that is free. Whoever
//! tries Daypass for the first time must not fail for a port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use super::Options;

/// The addresses of the demo; port 0 is any free one.
pub(super) struct Places {
    pub(super) outbound: SocketAddr,
    /// Never port 0: links name it before anybody listens there.
    pub(super) ingress: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) calcom: u16,
    pub(super) calendly: u16,
    /// The usual ports that somebody else has.
    pub(super) taken: Vec<u16>,
}

// === impl Places ===

impl Places {
    pub(super) fn choose(options: &Options) -> Self {
        let mut taken = Vec::new();
        let mut usual = |port| {
            if TcpListener::bind(local(port)).is_ok() {
                return port;
            }
            taken.push(port);
            0
        };
        Self {
            outbound: options.listen.unwrap_or_else(|| local(usual(7420))),
            ingress: named(options.ingress.unwrap_or_else(|| local(usual(7421)))),
            admin: options.admin.unwrap_or_else(|| local(usual(7422))),
            calcom: options.calcom_port.unwrap_or_else(|| usual(7430)),
            calendly: options.calendly_port.unwrap_or_else(|| usual(7431)),
            taken,
        }
    }
}

/// `address`, with a free port in place of any.
fn named(address: SocketAddr) -> SocketAddr {
    if address.port() != 0 {
        return address;
    }
    let free = TcpListener::bind(address).and_then(|listener| listener.local_addr());
    // Whoever listens there says what is the matter.
    free.unwrap_or(address)
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
