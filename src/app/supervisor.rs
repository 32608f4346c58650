//! What the service manager that started this process is told, as `sd_notify(3)` says: that it serves,
//! how it is, that it reads its secrets again, that it goes down, and (if that is asked for) that it
//! lives.
//!
//! 1. Telling never waits and never fails anything: who does not listen has missed it.
//! 2. *Ready* is told when every door is open and the store has answered, not before.
//! 3. The sign of life comes from the runtime that serves, and stops with it.
//! 4. A process that nobody looks after tells nobody, and costs nothing.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

use super::DRAIN_LIMIT;
use crate::{
    admin::{Readiness, Report},
    base::lifecycle::Lifecycle,
    config::Environment,
};

/// Where it listens to what it is told; a path, or `@` and an abstract name.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// Within how many microseconds it wants a sign of life.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";

/// Of which process it wants one, if not of any.
const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";

/// How soon it hears that something is wrong.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is left to do when the drain is over.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// Tells the service manager. Clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    socket: Option<Arc<UnixDatagram>>,
    /// How often it wants a sign of life, at least.
    watchdog: Option<Duration>,
}

// === impl Supervisor ===

impl Supervisor {
    /// Whoever `environment` names; nobody, if it names none that can be told.
    pub fn of(environment: &Environment) -> Self {
        let Some(at) = environment.get(SOCKET_VARIABLE) else {
            return Self::default();
        };
        match connect(at) {
            Ok(socket) => Self {
                socket: Some(Arc::new(socket)),
                watchdog: watchdog(environment),
            },
            Err(error) => {
                tracing::warn!(at, %error, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// Whether anybody is told.
    pub const fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// What it is doing before it serves.
    pub(super) fn starting(&self, what: &str) {
        self.tell(&[&status(what)]);
    }

    /// It serves.
    pub(super) fn ready(&self, report: &Report) {
        self.tell(&["READY=1", &status(&in_words(report))]);
    }

    /// It reads again what can change while it runs.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        let since = format!("MONOTONIC_USEC={micros}");
        self.tell(&["RELOADING=1", &since, &status("reading secrets again")]);
    }

    /// It goes down, and serves on for `linger` before it drains.
    pub(super) fn stopping(&self, linger: Duration, what: &str) {
        let longest = linger + DRAIN_LIMIT + LAST_STEPS;
        let patience = format!("EXTEND_TIMEOUT_USEC={}", longest.as_micros());
        self.tell(&["STOPPING=1", &patience, &status(what)]);
    }

    /// Tells how it is and that it lives, until `probes` ends; `drains` tells when how it is does not
    /// matter any more.
    pub(super) fn keep_telling(
        &self,
        probes: &Lifecycle,
        drains: &Lifecycle,
        readiness: Readiness,
    ) {
        if !self.is_there() {
            return;
        }
        let told = self.clone();
        drains.spawn_until_drain(async move {
            let mut last = in_words(&readiness.report());
            loop {
                sleep(LOOK_EVERY).await;
                let now = in_words(&readiness.report());
                if now != last {
                    told.tell(&[&status(&now)]);
                    last = now;
                }
            }
        });
        let (told, Some(within)) = (self.clone(), self.watchdog) else {
            return;
        };
        // Not waited for, and not ended by the drain: draining is living.
        probes.spawn_unwatched(async move {
            loop {
                told.tell(&["WATCHDOG=1"]);
                sleep(within / 2).await;
            }
        });
    }

    fn tell(&self, lines: &[&str]) {
        let Some(socket) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send(lines.join("\n").as_bytes()) {
            tracing::debug!(%error, "the service manager did not hear");
        }
    }
}

fn connect(at: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // Rather not told than held up.
    socket.set_nonblocking(true)?;
    let address = match at.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(at)?,
    };
    socket.connect_addr(&address)?;
    Ok(socket)
}

fn watchdog(environment: &Environment) -> Option<Duration> {
    let of_another = environment
        .get(WATCHDOG_PID_VARIABLE)
        .is_some_and(|pid| pid != process::id().to_string());
    let micros = environment.get(WATCHDOG_VARIABLE)?.parse().ok()?;
    (micros > 0 && !of_another).then(|| Duration::from_micros(micros))
}

/// A line that people read in `systemctl status`.
fn status(what: &str) -> String {
    // One line is one assignment.
    format!("STATUS={}", what.replace('\n', " "))
}

/// How it is, and what is wrong.
fn in_words(report: &Report) -> String {
    let reasons: Vec<_> = report
        .components
        .iter()
        .filter_map(|(name, component)| Some(format!("{name}: {}", component.reason.as_ref()?)))
        .collect();
    let status = report.status.as_str();
    if reasons.is_empty() {
        status.to_owned()
    } else {
        format!("{status}; {}", reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().copied().collect()
    }

    #[test]
    fn nobody_is_told_anything_unless_somebody_listens() {
        assert!(!Supervisor::of(&Environment::default()).is_there());
        let vanished = environment(&[(SOCKET_VARIABLE, "/nowhere/notify.sock")]);
        assert!(!Supervisor::of(&vanished).is_there());
    }

    #[test]
    fn signs_of_life_are_given_to_who_asks_this_process() {
        let asked = |pid: &str| {
            let asked = [(WATCHDOG_VARIABLE, "3000000"), (WATCHDOG_PID_VARIABLE, pid)];
            watchdog(&environment(&asked))
        };
        let three = Some(Duration::from_secs(3));
        assert_eq!(asked(""), three);
        assert_eq!(asked(&process::id().to_string()), three);
        assert_eq!(asked("1"), None);
        for nonsense in ["0", "-1", "often"] {
            let variables = [(WATCHDOG_VARIABLE, nonsense)];
            assert_eq!(watchdog(&environment(&variables)), None);
        }
    }

    #[test]
    fn a_status_is_one_line_whatever_a_reason_says() {
        let readiness = Readiness::new(Lifecycle::new());
        let (store, spool) = (readiness.check("store"), readiness.check("spool"));
        spool.ready();
        store.degraded("the disk\nREADY=1");
        let told = status(&in_words(&readiness.report()));
        assert_eq!(told, "STATUS=degraded; store: the disk READY=1");
    }
}
