//! What a process is told from outside: SIGTERM and SIGINT, which end it, and perhaps SIGHUP.
//!
//! 1. The handlers are set up before anything is started: a process with id 1 in its container has
//!    no others, and would not hear a signal during its start.
//! 2. The first signal begins the drain. A second one is from somebody who will not wait for it.
//! 3. SIGHUP ends a process, as usual, whose terminal goes. Under a service manager there is none, and it
//!    means: read again what can change.

use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{DRAIN_LIMIT, StartError};
use crate::base::lifecycle::{Drained, Lifecycle};

/// SIGTERM and SIGINT, from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

/// What was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To end.
    End,
    /// To read again what can change.
    Reload,
}

/// How a process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything under way was finished, or had its time.
    Drained,
    /// A second signal cut it short.
    Cut,
}

// === impl Signals ===

impl Signals {
    /// Hears signals from now on. Must be called on the runtime.
    pub fn new() -> Result<Self, StartError> {
        Ok(Self {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
            hangup: None,
        })
    }

    /// From now on SIGHUP does not end the process.
    pub fn reload_at_hangup(&mut self) -> Result<(), StartError> {
        self.hangup = Some(handler(SignalKind::hangup())?);
        Ok(())
    }

    /// Waits for whatever is told next. Cancel safe.
    pub async fn told(&mut self) -> Told {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = hangup => Told::Reload,
        }
    }

    /// Waits for the next signal to end. Cancel safe.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Runs `start` to its end, unless a signal comes first: then `None`, and it is dropped.
    pub async fn unless<T>(&mut self, start: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            started = start => Some(started),
            () = self.next() => None,
        }
    }

    /// Drains `lifecycle` up to [`DRAIN_LIMIT`], or stops it at the next signal.
    pub async fn drain(&mut self, lifecycle: &Lifecycle) -> Ending {
        drain(lifecycle, self.next()).await
    }
}

fn handler(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(|source| StartError::System {
        what: "no handler for signals can be set up",
        source,
    })
}

/// Drains `lifecycle`, but no longer than until `second`.
async fn drain(lifecycle: &Lifecycle, second: impl Future<Output = ()>) -> Ending {
    tracing::info!(limit_secs = DRAIN_LIMIT.as_secs(), "draining");
    tokio::select! {
        drained = lifecycle.drain(DRAIN_LIMIT) => {
            match drained {
                Drained::Clean => tracing::info!("drained"),
                Drained::Cut => {
                    tracing::warn!("requests were still under way at the limit; cut");
                }
            }
            Ending::Drained
        }
        () = second => {
            lifecycle.stop();
            tracing::warn!("a second signal: stopped at once");
            Ending::Cut
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// How long a drain took, and how it ended, when a request takes `takes`, and a second signal comes
    /// after `second`.
    async fn drained(takes: Duration, second: Duration) -> (Duration, Ending, bool) {
        let lifecycle = Lifecycle::new();
        let request = lifecycle.spawn(sleep(takes));
        let began = Instant::now();
        let ending = drain(&lifecycle, sleep(second)).await;
        let took = Instant::now().saturating_duration_since(began);
        (took, ending, request.await.unwrap().is_some())
    }

    const NEVER: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn a_request_has_twenty_five_seconds_to_end_and_no_more() {
        let secs = Duration::from_secs;
        let (took, ending, finished) = drained(secs(24), NEVER).await;
        assert!(finished && ending == Ending::Drained);
        assert!((secs(24)..secs(25)).contains(&took), "{took:?}");
        let (took, ending, finished) = drained(secs(26), NEVER).await;
        assert!(!finished && ending == Ending::Drained);
        assert!((secs(25)..secs(26)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_waits_for_nothing() {
        let secs = Duration::from_secs;
        let (took, ending, finished) = drained(secs(20), secs(3)).await;
        assert!(!finished && ending == Ending::Cut);
        assert!((secs(3)..secs(4)).contains(&took), "{took:?}");
    }
}
