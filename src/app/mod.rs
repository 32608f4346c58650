//! The composition: which parts a process has and how they are wired. Nothing is decided here that a
//! room could decide.
//!
//! * [`Core`]: store, keys, providers and tokens; what every command needs that touches connections.
//! * [`Sidecar`]: the core with its listeners, from start to drained.
//! * [`Surroundings`]: whoever started the process, looks after it, and may hold its sockets.

use std::{io, num::NonZero, thread, time::Duration};

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use crate::{http::Listen, provider, store, token};

mod core;
mod events;
mod handover;
mod inward;
mod keys;
mod local_calls;
mod observer;
mod promises;
mod readiness;
mod sidecar;
mod signals;
mod stores;
mod supervisor;
mod traces;

pub use core::{Core, Role, providers};
pub use handover::{Handover, HandoverError};
pub use inward::Inward;
pub use keys::{KeysError, configured_keys, key_of_file};
pub use sidecar::{Sidecar, Surroundings};
pub use signals::{Ending, Signals, Told};
pub use stores::{Opener, Stores};
pub use supervisor::Supervisor;

/// How long requests under way may take to finish once a drain has begun. Kubernetes gives a pod 30 s
/// by default.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// A sidecar shares its pod's cores with the app.
const MAX_WORKERS: usize = 4;

/// Blocking work is file reads and name resolution; both are rare.
const MAX_BLOCKING_THREADS: usize = 16;

/// Why a process cannot start. The operator must act.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store does not open.
    #[error("the store, {at}, cannot be opened")]
    Store {
        /// Where.
        at: String,
        /// Why not.
        #[source]
        source: store::Error,
    },
    /// There is no usable encryption key.
    #[error("there is no usable encryption key")]
    Keys(#[from] KeysError),
    /// Calls to providers cannot be set up.
    #[error("calls to providers cannot be set up")]
    Provider(#[from] provider::SetupError),
    /// Connections to providers cannot be set up.
    #[error("connections to providers cannot be set up")]
    Tls(#[from] crate::http::tls::Error),
    /// The way to the collector of traces cannot be set up.
    #[error("traces cannot be sent")]
    Collector(#[source] reqwest::Error),
    /// Deliveries to the app cannot be set up.
    #[error("deliveries to the app cannot be set up")]
    Webhook(#[from] crate::webhook::Error),
    /// The token room cannot open.
    #[error("tokens cannot be handed out")]
    Tokens(#[from] token::StartError),
    /// A listener's address is not to be had.
    #[error(
        "the {side} listener cannot have {listen}: choose another with --set \
         {side}.listen=ADDRESS:PORT, or as {side}.listen in the configuration"
    )]
    Listen {
        /// Where.
        listen: Listen,
        /// Which listener: its section of the configuration.
        side: &'static str,
        /// Why not; most often somebody else listens there.
        #[source]
        source: io::Error,
    },
    /// A socket that was handed over cannot be used.
    #[error("a socket that the service manager hands over cannot be used")]
    Handover(#[from] HandoverError),
    /// The operating system refuses a signal handler, or the like.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The runtime of a process.
pub fn runtime() -> io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    Builder::new_multi_thread()
        .worker_threads(cores.min(MAX_WORKERS))
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_name("daypass")
        .enable_all()
        .build()
}
