//! Meetings of both providers in one shape, and the background sync that keeps them true.
//!
//! | module | what it decides |
//! |---|---|
//! | [`archive`] | what is kept of a meeting, and which of two versions stands |
//! | [`enrich`] | that a webhook's meeting is read with its user's token |
//! | [`sync`] | when all meetings of a connection are read, and how far that is |
//!
//! 1. A meeting is kept for the user with whose token it was read, and for nobody else.
//! 2. Nothing here holds up a webhook or its delivery: what fails is read by the next sync.
//! 3. With `meetings.store = false` nothing is read and nothing is kept.

use std::time::Duration;

use async_trait::async_trait;

use crate::{base::ids::ConnectionKey, store};

pub mod archive;
pub mod enrich;
pub mod sync;

pub use archive::{Archive, Meeting, Told};
pub use enrich::Enricher;
pub use sync::{Progress, Stage, Sync};

/// `[meetings]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether meetings are kept at all; they hold personal data. Default yes.
    pub store: bool,
    /// How far back a sync reads. Default 30 days.
    pub sync_past: Duration,
    /// How far ahead a sync reads. Default 365 days.
    pub sync_future: Duration,
}

/// Hears of syncs.
#[async_trait]
pub trait Followers: Send + std::marker::Sync + 'static {
    /// All meetings of a connection were read; so many were new or had changed.
    async fn synced(&self, key: &ConnectionKey, changed: u64) -> Result<(), store::Error>;
}
