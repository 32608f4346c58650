//! What ends a process from outside: SIGTERM and SIGINT.
//!
//! 1. The handlers are set up before anything is started: a process with id 1 in its container has
//!    no others, and would not hear a signal during its start.
//! 2. The first signal begins the drain. A second one is from somebody who will not wait for it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{DRAIN_LIMIT, StartError};
use crate::base::lifecycle::{Drained, Lifecycle};

/// SIGTERM and SIGINT, from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
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
        let handler = |kind| {
            signal(kind).map_err(|source| StartError::System {
                what: "no handler for signals can be set up",
                source,
            })
        };
        Ok(Self {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal. Cancel safe.
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
            () = self.next() => {
                lifecycle.stop();
                tracing::warn!("a second signal: stopped at once");
                Ending::Cut
            }
        }
    }
}
