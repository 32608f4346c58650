//! Listening sockets that a service manager has opened and hands over, as `sd_listen_fds(3)` says: it
//! holds them while this process is restarted, so that callers wait for a moment and are not refused.
//!
//! 1. Which listener a socket is for says its name: `outbound`, `ingress` or `admin`. Any other name says
//!    nothing, as systemd then takes that of the unit; the address decides.
//! 2. A socket is taken only if it listens where the configuration says. So everything that is checked of
//!    an address holds for it (who may reach it, whether it needs a token), and `daypass health` and
//!    `daypass doctor` find it.
//! 3. Nothing that was handed over is passed over in silence: callers would wait at it for ever.

use std::{collections::BTreeMap, io};

use listenfd::ListenFd;

use super::StartError;
use crate::{
    config::{Environment, Settings},
    http::{
        Listen,
        server::{Bound, Handed},
    },
};

/// The names of the sockets, separated by colons.
const NAMES_VARIABLE: &str = "LISTEN_FDNAMES";

/// The listeners, by their sections of the configuration.
const SIDES: [&str; 3] = ["outbound", "ingress", "admin"];

/// What was handed over.
#[derive(Debug, Default)]
pub struct Handover(Vec<(String, Handed)>);

/// Why a socket that was handed over cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// It is something else.
    #[error("socket {nth}, called {name:?}, is no listening stream socket")]
    Unusable {
        /// Which, from 0 on.
        nth: usize,
        /// What it is called.
        name: String,
        /// What it is instead.
        #[source]
        source: io::Error,
    },
    /// No listener is configured there.
    #[error(
        "the socket {name:?} listens at {at}, where no listener is configured: set outbound.listen, \
         ingress.listen or admin.listen to that address, or the socket's to one of theirs"
    )]
    Nobodys {
        /// What it is called.
        name: String,
        /// Where it listens.
        at: Listen,
    },
    /// The configuration says another address.
    #[error(
        "the socket {side:?} listens at {at}, and {side}.listen says {listen}: make the two the same"
    )]
    Elsewhere {
        /// Which listener.
        side: &'static str,
        /// Where it listens.
        at: Listen,
        /// Where it should.
        listen: Listen,
    },
    /// There are two for one listener.
    #[error("two sockets were handed over for the {side} listener, which has one address")]
    Twice {
        /// Which listener.
        side: &'static str,
    },
}

/// Sockets for listeners, by section.
#[derive(Debug, Default)]
pub(super) struct Adopted(BTreeMap<&'static str, Bound>);

// === impl Handover ===

impl Handover {
    /// Takes what was handed over to this process; nothing, if that was another.
    ///
    /// Call it before anything is started: it takes the variables out of the environment, so that no
    /// process that is started from here takes them for its own.
    pub fn take(environment: &Environment) -> Result<Self, HandoverError> {
        let mut sockets = ListenFd::from_env();
        let names = environment.get(NAMES_VARIABLE).unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = Vec::new();
        for nth in 0..sockets.len() {
            let name = names.next().unwrap_or_default().to_owned();
            match take(&mut sockets, nth) {
                Ok(socket) => handed.extend(socket.map(|socket| (name, socket))),
                Err(source) => return Err(HandoverError::Unusable { nth, name, source }),
            }
        }
        Ok(Self(handed))
    }

    /// Gives each socket to its listener. Must be called on the runtime.
    pub(super) fn adopt(self, settings: &Settings) -> Result<Adopted, HandoverError> {
        let mut adopted = Adopted::default();
        for (nth, (name, handed)) in self.0.into_iter().enumerate() {
            let bound = match Bound::adopt(handed) {
                Ok(bound) => bound,
                Err(source) => return Err(HandoverError::Unusable { nth, name, source }),
            };
            let side = side_of(&name, &bound.local_addr(), settings)?;
            if adopted.0.insert(side, bound).is_some() {
                return Err(HandoverError::Twice { side });
            }
        }
        Ok(adopted)
    }
}

fn take(sockets: &mut ListenFd, nth: usize) -> io::Result<Option<Handed>> {
    match sockets.take_tcp_listener(nth) {
        Ok(listener) => Ok(listener.map(Handed::Tcp)),
        Err(_) => Ok(sockets.take_unix_listener(nth)?.map(Handed::Unix)),
    }
}

/// The listener for which a socket called `name` at `at` is.
fn side_of(name: &str, at: &Listen, settings: &Settings) -> Result<&'static str, HandoverError> {
    let configured = |side: &str| match side {
        "outbound" => &settings.outbound.listen,
        "ingress" => &settings.ingress.listen,
        _ => &settings.admin.listen,
    };
    if let Some(side) = SIDES.into_iter().find(|side| *side == name) {
        let listen = configured(side);
        if is_at(listen, at) {
            return Ok(side);
        }
        let (at, listen) = (at.clone(), listen.clone());
        return Err(HandoverError::Elsewhere { side, at, listen });
    }
    let there = SIDES.into_iter().find(|side| configured(side) == at);
    there.ok_or_else(|| HandoverError::Nobodys {
        name: name.to_owned(),
        at: at.clone(),
    })
}

/// Whether a socket at `at` is what `listen` asks for; port 0 asks for any.
fn is_at(listen: &Listen, at: &Listen) -> bool {
    match (listen, at) {
        (Listen::Tcp(listen), Listen::Tcp(at)) if listen.port() == 0 => listen.ip() == at.ip(),
        _ => listen == at,
    }
}

// === impl Adopted ===

impl Adopted {
    /// The socket of the listener of section `side`: what was handed over, or a new one.
    pub(super) fn or_bind(
        &mut self,
        listen: &Listen,
        side: &'static str,
    ) -> Result<Bound, StartError> {
        if let Some(bound) = self.0.remove(side) {
            tracing::info!(listener = side, at = %bound.local_addr(), "socket handed over");
            return Ok(bound);
        }
        Bound::bind(listen).map_err(|source| StartError::Listen {
            listen: listen.clone(),
            side,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::{self, Request};

    fn settings(set: &[(&str, &str)]) -> Settings {
        let request = Request {
            file: Some("/dev/null".into()),
            overrides: set
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        };
        let loaded = config::load(&request, &Environment::default());
        loaded.ok().unwrap().settings
    }

    fn socket() -> (Handed, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (Handed::Tcp(listener), address)
    }

    #[tokio::test]
    async fn a_socket_with_the_name_of_a_listener_is_that_listeners() {
        let (one, address) = socket();
        let handover = Handover(vec![("ingress".to_owned(), one)]);
        let settings = settings(&[("ingress.listen", "127.0.0.1:0")]);
        let mut adopted = handover.adopt(&settings).unwrap();
        let bound = adopted.or_bind(&settings.ingress.listen, "ingress");
        assert_eq!(bound.unwrap().local_addr().to_string(), address);
    }

    #[tokio::test]
    async fn a_socket_without_such_a_name_is_whose_address_it_has() {
        let (one, address) = socket();
        let handover = Handover(vec![("daypass.socket".to_owned(), one)]);
        let settings = settings(&[("admin.listen", &address)]);
        let mut adopted = handover.adopt(&settings).unwrap();
        let bound = adopted.or_bind(&settings.admin.listen, "admin");
        assert_eq!(bound.unwrap().local_addr().to_string(), address);
    }

    #[tokio::test]
    async fn a_socket_at_another_address_than_the_configured_one_is_refused() {
        let (one, address) = socket();
        let handover = Handover(vec![("outbound".to_owned(), one)]);
        let error = handover.adopt(&settings(&[])).unwrap_err().to_string();
        assert!(error.contains(&address), "{error}");
        assert!(
            error.contains("outbound.listen says 127.0.0.1:7420"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_socket_that_is_nobodys_is_refused_and_so_are_two_for_one_listener() {
        let (one, address) = socket();
        let handover = Handover(vec![("unknown".to_owned(), one)]);
        let error = handover.adopt(&settings(&[])).unwrap_err().to_string();
        assert!(error.contains(&address), "{error}");

        let named = |(handed, _)| ("admin".to_owned(), handed);
        let handover = Handover(vec![named(socket()), named(socket())]);
        let error = handover.adopt(&settings(&[("admin.listen", "127.0.0.1:0")]));
        assert!(matches!(error, Err(HandoverError::Twice { side: "admin" })));
    }
}
